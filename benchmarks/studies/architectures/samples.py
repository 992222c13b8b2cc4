"""An architecture of the table: how it is made, and random samples that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

#: Arrays ``(n, …)`` by input name.
Samples = dict[str, NDArray[np.generic]]

#: One input: from a source of randomness and a number of samples to an array ``(n, …)``.
Make = Callable[[np.random.Generator, int], NDArray[np.generic]]


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        make: Builds it, with random weights.
        inputs: Inputs that it takes, by the names of its ``forward``.
        form: Form in which compress is given it: ``module``, ``pt2`` (batch open), ``torchscript`` (traced) or
            ``state_dict``.
        batch_axis: The axis of its inputs that counts samples, for the reference alone: compress has to find it.
    """

    make: Callable[[], nn.Module]
    inputs: Mapping[str, Make]
    form: str = "module"
    batch_axis: int = 0

    def samples(self, seed: int, count: int) -> Samples:
        """So many random samples, the samples along axis 0."""
        random = np.random.default_rng(seed)
        return {name: make(random, count) for name, make in self.inputs.items()}


def floats(*shape: int) -> Make:
    """Normal numbers, float32 (n, *shape)."""
    return lambda random, count: random.standard_normal((count, *shape)).astype(np.float32)


def tokens(length: int, most: int = 90) -> Make:
    """Indices of words, int64 (n, length); the first few, which are often special, are left out."""
    return lambda random, count: random.integers(5, most, (count, length))


def mask(length: int) -> Make:
    """Ones, then zeros where the text has ended, int64 (n, length); every fourth text fills its row."""

    def make(random: np.random.Generator, count: int) -> NDArray[np.generic]:
        lengths = random.integers(length // 2, length + 1, (count, 1))
        lengths[::4] = length
        return (np.arange(length) < lengths).astype(np.int64)

    return make
