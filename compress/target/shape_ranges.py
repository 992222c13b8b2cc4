"""The ranges of shapes that a build accepts where axes of its inputs are open.

TensorRT chooses kernels for one size of each open axis and takes others between a smallest and a largest one: its
optimization profile (min/opt/max shapes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeRange:
    """The shapes of one input that a build takes.

    Attributes:
        smallest: Smallest shape, one size per axis.
        usual: Shape at which the build is to be fastest.
        largest: Largest shape, one size per axis.
        samples: Axis that counts samples, where their number is open; None where it is fixed, or no axis counts them.
    """

    smallest: Shape
    usual: Shape
    largest: Shape
    samples: int | None = None

    @property
    def one_size(self) -> bool:
        """Whether only the number of samples varies."""
        return all(
            low == high
            for axis, (low, high) in enumerate(zip(self.smallest, self.largest, strict=True))
            if axis != self.samples
        )

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a shape lies inside, however many samples it has."""
        return len(shape) == len(self.usual) and all(
            axis == self.samples or low <= size <= high
            for axis, (low, size, high) in enumerate(zip(self.smallest, shape, self.largest, strict=True))
        )

    def fits(self, spec: TensorSpec) -> bool:
        """Whether an input can have these shapes."""
        return len(spec.shape) == len(self.usual) and all(
            isinstance(size, str) or axis == self.samples or low == high == size
            for axis, (low, size, high) in enumerate(
                zip(self.smallest, spec.shape, self.largest, strict=True)
            )
        )

    def with_batches(self, smallest: int, usual: int, largest: int) -> ShapeRange:
        """Return the same ranges for other numbers of samples, where their number is open."""
        if self.samples is None:
            return self
        axis = self.samples
        return ShapeRange(
            with_size(self.smallest, axis, smallest),
            with_size(self.usual, axis, usual),
            with_size(self.largest, axis, largest),
            axis,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ShapeRange:
        """Read back what :meth:`to_dict` returned."""
        smallest, usual, largest = (tuple(map(int, data[name])) for name in ("smallest", "usual", "largest"))
        return cls(smallest, usual, largest, data["samples"])

    def __str__(self) -> str:
        ends = shape_text(self.smallest), shape_text(self.largest)
        return ends[0] if self.smallest == self.largest else " to ".join(ends)


def with_size(shape: Shape, axis: int, size: int) -> Shape:
    """Return a shape with another size along one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def shape_text(shape: Iterable[int | str]) -> str:
    """Format a shape as options take it: ``1x3x224x224``."""
    return "x".join(map(str, shape))


def usual_shapes(
    ranges: Mapping[str, ShapeRange], inputs: Sequence[TensorSpec]
) -> tuple[tuple[str, Shape], ...]:
    """Return the usual shape of each input, by name, where it is known and fits."""
    return tuple(
        (spec.name, ranges[spec.name].usual)
        for spec in inputs
        if spec.name in ranges and ranges[spec.name].fits(spec)
    )


def recorded_ranges(manifest: Mapping[str, Any]) -> dict[str, ShapeRange]:
    """Return the shapes that a bundle was built for, by input; empty where they are not recorded."""
    try:
        recorded = manifest["target"]["input_shapes"]
        return {name: ShapeRange.from_dict(entry) for name, entry in recorded.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def range_notes(ranges: Mapping[str, ShapeRange]) -> tuple[str, ...]:
    """Return one line on the sizes that an engine accepts; empty where no axis is open."""
    if not ranges:
        return ()
    range_texts = ", ".join(
        f"{name} {shape_range}"
        + (
            ""
            if shape_range.smallest == shape_range.largest
            else f" (fastest at {shape_text(shape_range.usual)})"
        )
        for name, shape_range in ranges.items()
    )
    return (f"engines take inputs of these shapes: {range_texts}; --shape names others",)
