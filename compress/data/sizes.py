"""Sizes of the open axes of a network's inputs: from the data, or from the user (``--shape``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from compress.core.suggestions import did_you_mean
from compress.core.tensor_spec import TensorSpec, with_length
from compress.data.split import READ_SIZE, Array, Batch, Split
from compress.errors import DataError, UsageError
from compress.target.shape_ranges import Shape, ShapeRange, shape_text, with_size

#: Input → its shapes, in order: one; the smallest and the largest; or the smallest, the usual and the largest. The name
#: is empty for the only input.
Asked = Mapping[str, Sequence[Sequence[int]]]

#: How many samples have each combination of shapes, the inputs' names with each.
_Seen = Counter[tuple[tuple[str, Shape], ...]]

#: How the option is written.
FORM = "[INPUT=]1x3x224x224, or [INPUT=]1x3x224x224..1x3x640x640"


def input_ranges(
    inputs: Sequence[TensorSpec],
    splits: Sequence[Split],
    batches: Sequence[int],
    given_sizes: Asked | None = None,
) -> dict[str, ShapeRange]:
    """Return the range of shapes for each input with an open axis besides that of the samples.

    Args:
        inputs: The network's inputs.
        splits: Data, bound to these inputs; the most frequent shape in the first is the usual one. Empty without data.
        batches: Numbers of samples that are run together; the smallest is the usual one.
        given_sizes: Shapes that the user names; the data then has to lie inside.

    Returns:
        Ranges by the input's name; empty where only the number of samples is open and the user names no shape. An input
        of unknown size is left out.

    Raises:
        UsageError: A shape that the user names fits no input.
        DataError: A sample lies outside the shapes that the user names.
    """
    asked_shapes = _told(given_sizes or {}, inputs)
    held = next(iter(splits[0].batches(1))).held if splits else frozenset()
    opened = [spec for spec in inputs if any(isinstance(size, str) for size in spec.shape)]
    if not asked_shapes and not any(_open_axes(spec, held) for spec in opened):
        return {}
    seen = [_seen(split, inputs) for split in splits]
    ranges = _asked_ranges(asked_shapes, inputs, held, _usual(seen))
    sizes = {
        size: (shape_range.smallest[axis], shape_range.usual[axis], shape_range.largest[axis])
        for spec in inputs
        if (shape_range := ranges.get(spec.name)) is not None
        for axis, size in enumerate(spec.shape)
        if isinstance(size, str) and axis != shape_range.samples
    }
    for spec in opened:
        if spec.name not in ranges:
            shape_range = _found(spec, held, seen, sizes)
            if shape_range is not None:
                ranges[spec.name] = shape_range
    _check_inside(ranges, seen)
    counts = {*batches, *(size for shape_range in ranges.values() for size in _counts(shape_range))}
    return {
        spec.name: ranges[spec.name].with_batches(min(counts), min(batches), max(counts))
        for spec in inputs
        if spec.name in ranges
    }


def _told(given_sizes: Asked, inputs: Sequence[TensorSpec]) -> dict[str, list[Shape]]:
    """Return the user's shapes by the inputs' own names, checked without the data."""
    names = [spec.name for spec in inputs]
    shapes_by_name: dict[str, list[Shape]] = {}
    for asked_name, shapes in given_sizes.items():
        if not asked_name and len(inputs) > 1:
            problem = f"{len(inputs)} inputs: {', '.join(names)}"
            raise UsageError(
                "the name of the input that --shape is for", problem, f"write --shape {names[0]}=…"
            )
        name = asked_name or names[0]
        if name not in names:
            todo = did_you_mean(name, names) or f"name one of: {', '.join(names)}"
            raise UsageError("--shape of an input of the network", f"'{name}'", todo)
        bounds = [tuple(shape) for shape in shapes]
        text = "..".join(map(shape_text, bounds))
        if not 1 <= len(bounds) <= 3 or len({len(shape) for shape in bounds}) != 1:
            raise UsageError(f"--shape of the form {FORM}", f"'{text}'", "correct it")
        ordered = all(
            low <= high for first, second in pairwise(bounds) for low, high in zip(first, second, strict=True)
        )
        if not ordered:
            raise UsageError("the smallest shape first in --shape", f"'{text}'", "swap them")
        shapes_by_name[name] = bounds
    return shapes_by_name


def _asked_ranges(
    asked_shapes: Mapping[str, Sequence[Shape]],
    inputs: Sequence[TensorSpec],
    held: frozenset[str],
    usual: Mapping[str, Shape],
) -> dict[str, ShapeRange]:
    ranges = {}
    for spec in inputs:
        if spec.name not in asked_shapes:
            continue
        shapes = asked_shapes[spec.name]
        samples = _samples(spec, held)
        asked_range = ShapeRange(shapes[0], shapes[-1], shapes[-1], samples)
        if not asked_range.fits(spec):
            raise UsageError(
                f"--shape that fits {spec}", "..".join(map(shape_text, shapes)), "give one size for each axis"
            )
        common = usual.get(spec.name)
        if len(shapes) == 3:
            best = shapes[1]
        elif common is not None and asked_range.takes(common):
            best = common
        else:
            best = shapes[-1]
        ranges[spec.name] = ShapeRange(shapes[0], best, shapes[-1], samples)
    return ranges


def _found(
    spec: TensorSpec,
    held: frozenset[str],
    seen: Sequence[_Seen],
    sizes: Mapping[str, tuple[int, int, int]],
) -> ShapeRange | None:
    """Return the range of an input that the user does not name: from axes of the same name, else from the data.

    None where neither has a size.
    """
    samples = _samples(spec, held)
    shapes = [dict(key)[spec.name] for counted in seen for key in counted]
    usual = _usual(seen).get(spec.name)
    ends: list[tuple[int, int, int]] = []
    for axis, size in enumerate(spec.shape):
        if isinstance(size, int):
            ends.append((size, size, size))
        elif axis == samples:
            ends.append((1, 1, 1))
        elif size in sizes:
            ends.append(sizes[size])
        elif usual is not None:
            there = [shape[axis] for shape in shapes]
            ends.append((min(there), usual[axis], max(there)))
        else:
            return None
    smallest, best, largest = (tuple(end[number] for end in ends) for number in range(3))
    return ShapeRange(smallest, best, largest, samples)


def _seen(split: Split, inputs: Sequence[TensorSpec]) -> _Seen:
    """Count the samples of each combination of shapes; an open number of samples counts as 1."""
    counts: _Seen = Counter()
    for batch in split.batches(READ_SIZE):
        counts[tuple((spec.name, _shape(batch, spec)) for spec in inputs)] += len(batch)
    return counts


def _shape(batch: Batch, spec: TensorSpec) -> Shape:
    shape: Shape = batch.inputs[spec.name].shape
    if spec.name in batch.held or not shape:
        return shape
    return with_size(shape, spec.batch_axis, 1 if spec.dynamic_batch else int(spec.shape[spec.batch_axis]))


def _usual(seen: Sequence[_Seen]) -> dict[str, Shape]:
    """Return the most frequent combination of shapes in the first data."""
    return dict(seen[0].most_common(1)[0][0]) if seen else {}


def _check_inside(ranges: Mapping[str, ShapeRange], seen: Sequence[_Seen]) -> None:
    for name, shape in (named_shape for counted in seen for key in counted for named_shape in key):
        if name in ranges and not ranges[name].takes(shape):
            raise DataError(
                f"data inside of --shape for {name}, {ranges[name]}",
                f"a sample of {shape_text(shape)}",
                "widen --shape, or leave such samples out",
            )


def _samples(spec: TensorSpec, held: Iterable[str]) -> int | None:
    return spec.batch_axis if spec.dynamic_batch and spec.name not in held else None


def _open_axes(spec: TensorSpec, held: Iterable[str]) -> list[int]:
    """Return the open axes, without that of the samples."""
    samples = _samples(spec, held)
    return [axis for axis, size in enumerate(spec.shape) if isinstance(size, str) and axis != samples]


def _counts(shapes: ShapeRange) -> tuple[int, ...]:
    """Return the numbers of samples in the user's shapes; 1 stands for any number."""
    if shapes.samples is None:
        return ()
    return tuple(size for shape in (shapes.smallest, shapes.largest) if (size := shape[shapes.samples]) > 1)


def resized(
    example: Mapping[str, Array], given_sizes: Asked, batch_axes: Mapping[str, int]
) -> dict[str, Array] | None:
    """Return samples of another size than the example, to open a network's axes; None where no size is asked for.

    Values are the example's own, repeated or left out, since a network may take no others.

    Args:
        example: Samples ``(n, …)`` by input.
        given_sizes: Shapes that the user names, as the network takes them.
        batch_axes: The axis that counts samples, by input; ``""`` names that of all others. 0 where nothing is named.
    """
    arrays: dict[str, Array] = {}
    for name, array in example.items():
        shapes = given_sizes.get(name) or (given_sizes.get("") if len(example) == 1 else None)
        if shapes is None and len(example) == len(given_sizes) == 1:
            shapes = next(iter(given_sizes.values()))  # the only input has the network's own name there
        arrays[name] = array
        axis = batch_axes.get(name, batch_axes.get("", 0))
        if shapes is None or any(len(shape) != array.ndim or axis >= array.ndim for shape in shapes):
            continue
        smallest, largest = (_without(shape, axis) for shape in (shapes[0], shapes[-1]))
        for number, (low, high) in enumerate(zip(smallest, largest, strict=True), start=1):
            size = array.shape[number]
            other = high if high != size else low
            if low != high and other != size:
                arrays[name] = with_length(arrays[name], number, other)
    return None if all(arrays[name] is array for name, array in example.items()) else arrays


def _without(shape: Sequence[int], axis: int) -> Sequence[int]:
    return (*shape[:axis], *shape[axis + 1 :])
