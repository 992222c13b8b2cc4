"""A set of samples that is read in batches, of any storage format."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress.core.tensor_spec import take_samples

if TYPE_CHECKING:
    from compress.data.task import Task
    from compress.network.states import Runs

Array = NDArray[Any]

#: Samples read at once where nobody asks for another number.
READ_SIZE = 256


@dataclass(frozen=True)
class Batch:
    """Samples along axis 0, as data holds them, or along an axis of each input, as a network takes them.

    Attributes:
        inputs: Array of each input, by its name, ``(n, …)``; the samples may lie along another axis, which ``axes``
            names.
        targets: Targets of the samples: class labels, int64 ``(n,)``; float targets ``(n, …)``; integer targets of more
            axes, int64; boxes of each sample, an object array ``(n,)`` of float64 ``(k, 5 or 6)``
            (:mod:`compress.data.boxes`); or None.
        axes: Axis that counts the samples, for inputs where it is not axis 0.
        held: Names of the inputs that count no samples: they have one value for all of them, such as a sampling rate.
    """

    inputs: dict[str, Array]
    targets: Array | None
    axes: Mapping[str, int] = field(default_factory=dict)
    held: frozenset[str] = frozenset()

    def __len__(self) -> int:
        name, array = next((name, array) for name, array in self.inputs.items() if name not in self.held)
        return int(array.shape[self.axes.get(name, 0)])

    def rows(self, indices: NDArray[np.int64] | slice) -> Batch:
        """Return some of the samples."""
        targets = None if self.targets is None else self.targets[indices]
        rows_by_name = {
            name: array if name in self.held else take_samples(array, indices, self.axes.get(name, 0))
            for name, array in self.inputs.items()
        }
        return Batch(rows_by_name, targets, self.axes, self.held)

    @classmethod
    def joined(cls, batches: list[Batch]) -> Batch:
        """Join one or more batches into one."""
        first = batches[0]
        targets = [batch.targets for batch in batches if batch.targets is not None]
        inputs = {
            name: array
            if name in first.held
            else np.concatenate([batch.inputs[name] for batch in batches], axis=first.axes.get(name, 0))
            for name, array in first.inputs.items()
        }
        return cls(inputs, np.concatenate(targets) if targets else None, first.axes, first.held)


class RowDigest(NamedTuple):
    """Hashes of one sample: rows with equal content have equal digests."""

    inputs: bytes
    targets: bytes


class Split(ABC):
    """Samples in a fixed order, read in batches and in constant memory.

    Attributes:
        labels: Class labels of all samples, int64 ``(n,)``; None where the targets are no class labels.
        labelled: Whether the samples have targets of any kind.
        classes: Names of the classes, by label, where the data knows them; else None.
        origin: Source of the samples, as a dict that JSON can hold.
        default_metric: Name of the metric that suits the samples, where their kind tells it; else None.
        detections: Content of the table ``[detections]`` beside the data; empty where there is none.
    """

    labels: NDArray[np.int64] | None = None
    labelled: bool = False
    classes: tuple[str, ...] | None = None
    origin: Mapping[str, Any] = {}
    default_metric: str | None = None
    detections: Mapping[str, Any] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all samples in order, ``size`` at a time; the last batch may be smaller.

        Raises:
            DataError: A sample cannot be read, or does not fit the others.
        """

    @abstractmethod
    def _taken(self, indices: NDArray[np.int64]) -> Split:
        """Return the samples at these valid indices."""

    def take(self, indices: ArrayLike) -> Split:
        """Return some of the samples, in the order of ``indices``, which may repeat; nothing is read yet.

        Raises:
            IndexError: An index is negative or past the end.
        """
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"indices must be in [0, {len(self)})")
        subset = self._taken(rows)
        subset.detections = self.detections
        if "digests" in self.__dict__:  # a hash that is known need not be taken again
            subset.__dict__["digests"] = tuple(self.digests[row] for row in rows)
        return subset

    def in_calls(self, task: Task, network: Runs) -> Task | None:
        """Return the task of a network that answers such a sample in several calls, bound to it, with its single calls.

        Args:
            task: Task with these samples to evaluate on, as it was loaded.
            network: The original network, which is run on a few of the samples.

        Returns:
            The task; None where a sample of this kind is a single call.
        """
        return None

    def first_calls(self, network: Runs) -> Split:
        """Return samples of single calls to run a network on for the first time, in a process that may crash.

        Args:
            network: The network; it is not run here.
        """
        return self

    @cached_property
    def digests(self) -> tuple[RowDigest, ...]:
        """Hashes of each sample, in order; reads all of them once."""
        return tuple(digest for batch in self.batches(READ_SIZE) for digest in row_digests(batch))

    @cached_property
    def sha256(self) -> str:
        """Hash of all samples in order, inputs and targets; hexadecimal."""
        combined = hashlib.sha256()
        for digest in self.digests:
            combined.update(digest.inputs)
            combined.update(digest.targets)
        return combined.hexdigest()


def row_digests(batch: Batch) -> Iterator[RowDigest]:
    """Hashes of each sample of a batch: of dtypes, shapes and values, and of names where there are several."""
    several = len(batch.inputs) > 1
    inputs = [(name if several else "", array) for name, array in sorted(batch.inputs.items())]
    targets = [] if batch.targets is None else [("y", batch.targets)]
    for row in range(len(batch)):
        yield RowDigest(_digest(inputs, row), _digest(targets, row))


def _digest(arrays: list[tuple[str, Array]], row: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, array in arrays:
        values = np.ascontiguousarray(array[row])
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.data)
    return digest.digest()
