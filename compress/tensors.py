"""What a network takes and gives: names, dtypes and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: The name of the one dynamic axis every network is given where its file allows it.
BATCH = "batch"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: As the artifact knows it.
        dtype: NumPy's name: ``float32``, ``int64``, …
        shape: One entry per axis: a size, or a name for a dynamic axis (``batch`` for axis 0).
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def dynamic_batch(self) -> bool:
        """Whether axis 0 takes any size."""
        return bool(self.shape) and isinstance(self.shape[0], str)

    def with_batch(self, size: int) -> tuple[int | str, ...]:
        """The shape with axis 0 set to ``size``, where it is dynamic."""
        return (size, *self.shape[1:]) if self.dynamic_batch else self.shape

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TensorSpec:
        """The inverse of :meth:`to_dict`."""
        return cls(data["name"], data["dtype"], tuple(data["shape"]))

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """The only batch size that a network with these inputs takes; None where it takes any."""
    first = inputs[0]
    return None if first.dynamic_batch or not first.shape else int(first.shape[0])
