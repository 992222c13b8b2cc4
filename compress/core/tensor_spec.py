"""Inputs and outputs of networks: names, dtypes and shapes."""

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
        name: Name in the artifact.
        dtype: NumPy's name of the data type: ``float32``, ``int64``, …
        shape: One entry per axis: a size, or a name for a dynamic axis (``batch`` for the one that counts samples).
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def batch_axis(self) -> int:
        """Axis that counts samples: the one named ``batch``; axis 0 where none is.

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
        """Return the shape with ``size`` samples, where their number is dynamic."""
        if not self.dynamic_batch:
            return self.shape
        return (*self.shape[: self.batch_axis], size, *self.shape[self.batch_axis + 1 :])

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TensorSpec:
        """Read back what :meth:`to_dict` returned."""
        return cls(data["name"], data["dtype"], tuple(data["shape"]))

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """Return the only batch size that a network with these inputs takes; None where it takes any.

    The first input with an open number of samples, or with two axes or more, decides: a single number, or a row of
    numbers, such as a sampling rate, may count no samples.
    """
    first = next((spec for spec in inputs if spec.dynamic_batch or len(spec.shape) > 1), inputs[0])
    return None if first.dynamic_batch or not first.shape else int(first.shape[first.batch_axis])


def named_axes(sizes: Iterable[int | str]) -> tuple[int | str, ...]:
    """Return a shape that a file declares, with a name for the axis of the samples.

    Args:
        sizes: Size of each axis, or a name for an open axis. Where no axis is called ``batch``, an open axis 0 counts
            the samples.
    """
    shape = tuple(sizes)
    return shape if BATCH in shape or not shape or isinstance(shape[0], int) else (BATCH, *shape[1:])


def take_samples(array: Array, rows: slice | np.ndarray[Any, np.dtype[np.int64]], axis: int) -> Array:
    """Return some of the samples of a tensor.

    Args:
        array: Array, as a network takes or returns it.
        rows: Indices of the samples.
        axis: Axis that counts the samples.
    """
    samples: Array = array[(*[slice(None)] * axis, rows)]
    return samples


def with_length(array: Array, axis: int, length: int) -> Array:
    """Return an array with another length along an axis: values are repeated from the start, or cut at the end."""
    size = array.shape[axis]
    if size == length:
        return array
    resized: Array = np.take(array, np.arange(length) % size, axis=axis)
    return resized
