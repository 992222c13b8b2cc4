"""What a network takes and gives: names, dtypes and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: The name of the one dynamic axis every network is given where its file allows it: it counts the samples.
BATCH = "batch"

#: The name of axis 0 where samples lie along axis 1, and sequences of any length are taken.
TIME = "time"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: As the artifact knows it.
        dtype: NumPy's name: ``float32``, ``int64``, …
        shape: One entry per axis: a size, or a name for a dynamic axis (``batch`` for the one that counts samples).
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def batch_axis(self) -> int:
        """The axis that counts samples: the one named ``batch``; axis 0 where none is.

        Recurrent layers of torch take [time, batch, features] unless they are told otherwise.
        """
        return self.shape.index(BATCH) if BATCH in self.shape else 0

    @property
    def dynamic_batch(self) -> bool:
        """Whether the axis of the samples takes any size."""
        return bool(self.shape) and isinstance(self.shape[self.batch_axis], str)

    @property
    def sample_shape(self) -> tuple[int | str, ...]:
        """The shape of one sample, without the axis of the samples."""
        return self.shape[: self.batch_axis] + self.shape[self.batch_axis + 1 :]

    def with_batch(self, size: int) -> tuple[int | str, ...]:
        """The shape with ``size`` samples, where their number is dynamic."""
        if not self.dynamic_batch:
            return self.shape
        return (*self.shape[: self.batch_axis], size, *self.shape[self.batch_axis + 1 :])

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
    """The only batch size that a network with these inputs takes; None where it takes any.

    The first input that has an open number of samples, or two axes or more, tells it: a number, or a row of them, such
    as a sampling rate, may count none.
    """
    first = next((spec for spec in inputs if spec.dynamic_batch or len(spec.shape) > 1), inputs[0])
    return None if first.dynamic_batch or not first.shape else int(first.shape[first.batch_axis])


def named_axes(sizes: Iterable[int | str]) -> tuple[int | str, ...]:
    """A shape as a file declares it, with a name for the axis of the samples.

    Args:
        sizes: A size, or a name for an open axis. Where no axis is called ``batch``, an open axis 0 counts the samples.
    """
    shape = tuple(sizes)
    return shape if BATCH in shape or not shape or isinstance(shape[0], int) else (BATCH, *shape[1:])


def take_samples(array: Array, rows: slice | np.ndarray[Any, np.dtype[np.int64]], axis: int) -> Array:
    """Some of the samples of a tensor.

    Args:
        array: As a network takes or gives it.
        rows: Which samples.
        axis: The axis that counts them.
    """
    found: Array = array[(*[slice(None)] * axis, rows)]
    return found


def with_length(array: Array, axis: int, length: int) -> Array:
    """An array of another length along an axis: its own values, repeated from the start or left out at the end."""
    size = array.shape[axis]
    if size == length:
        return array
    found: Array = np.take(array, np.arange(length) % size, axis=axis)
    return found
