"""Training samples: their order, and those held out to judge by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.data.split import Batch, Split
from compress.errors import DataError
from compress.training.processes import Processes

#: More held-out samples than this cost time and tell no more.
MOST_HELD_OUT = 1024


class TrainingSamples:
    """Training data as an endless stream of batches, each drawn by its number alone.

    The stream is one shuffled pass over the samples after another. Since step k's batch follows from the seed and
    k, a training that was interrupted goes on with the very samples it would have seen.

    Args:
        split: All training data.
        inputs: Names of the network's inputs, in order.
        batch_size: Number of samples in a step; every batch has exactly so many.
        held_out: Share of the samples that is held out, in (0, 1).
        seed: Seed of the choice and of the order of samples.
        processes: Processes that train together; each gets its part of every batch and of the held-out batches.

    Attributes:
        batch_size: Number of samples in a step, of all processes together.

    Raises:
        DataError: There are too few samples for a batch of each kind.
    """

    def __init__(
        self,
        split: Split,
        inputs: Sequence[str],
        batch_size: int,
        held_out: float,
        seed: int,
        processes: Processes = Processes(),  # noqa: B008 - a frozen value
    ) -> None:
        self._processes = processes
        self._split, self._inputs, self.batch_size, self._seed = split, tuple(inputs), batch_size, seed
        order = np.random.default_rng([seed, 0]).permutation(len(split))
        apart = min(max(int(held_out * len(split)), batch_size), MOST_HELD_OUT)
        apart -= apart % batch_size  # A network of fixed batch takes whole ones alone.
        self._held_out, self._trained = np.sort(order[:apart]), np.sort(order[apart:])
        if not apart or len(self._trained) < batch_size:
            raise DataError(
                f"at least {2 * batch_size} training samples, for a batch to train on and one to judge by",
                str(len(split)),
                "give more training data, or a smaller batch_size",
            )

    def __len__(self) -> int:
        """Return the number of samples to train on."""
        return len(self._trained)

    @property
    def sha256(self) -> str:
        """Hash of all samples, held-out ones too, with their targets; hexadecimal."""
        return self._split.sha256

    @property
    def labels(self) -> Tensor | None:
        """Class labels of all samples, held-out ones too, int64 ``(n,)``; None where there are none."""
        labels = self._split.labels
        return None if labels is None else torch.from_numpy(np.ascontiguousarray(labels))

    @property
    def steps_a_pass(self) -> int:
        """Number of steps after which every sample was in a batch."""
        return -(-len(self) // self.batch_size)

    @property
    def held_out(self) -> int:
        """Number of held-out samples."""
        return len(self._held_out)

    def batch(self, step: int) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Return this process's inputs and targets for a step, counted from 0."""
        rows = self._trained[self.places(step)]
        return self._tensors(next(self._split.take(rows).batches(self.batch_size)))

    def places(self, step: int) -> NDArray[np.int64]:
        """Return the positions of this process's samples in a step's batch, from 0."""
        numbers = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        numbers = numbers[self._processes.part(self.batch_size)]
        passes, places = np.divmod(numbers, len(self))
        return np.concatenate(
            [self._order(data_pass)[places[passes == data_pass]] for data_pass in np.unique(passes)]
        )

    def held_out_batches(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None]]:
        """Yield this process's inputs and targets of the held-out samples, in whole batches."""
        batches = self._held_out.reshape(-1, self.batch_size)
        rows = batches[self._processes.part(len(batches))]
        for batch in self._split.take(rows).batches(self.batch_size):
            yield self._tensors(batch)

    def _order(self, number: int) -> NDArray[np.int64]:
        """Return the order of the samples in one pass."""
        return np.random.default_rng([self._seed, 1, number]).permutation(len(self))

    def _tensors(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor | None]:
        inputs = tuple(torch.from_numpy(np.asarray(batch.inputs[name], order="C")) for name in self._inputs)
        if (
            batch.targets is None or batch.targets.dtype == object
        ):  # boxes: a list for each sample is no tensor
            return inputs, None
        return inputs, torch.from_numpy(np.ascontiguousarray(batch.targets))
