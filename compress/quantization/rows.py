"""Rows that corrections are fitted to: a layer's inputs in the quantized network, and its wanted outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.quantization.moments import Floats, Moments

_TOGETHER = 4096  # rows that are multiplied at a time


@dataclass(frozen=True)
class Rows:
    """Rows of one batch; a leading axis counts the groups of a convolution.

    Attributes:
        integers: Inputs of the layer, [groups, rows, inputs], as integers of a grid, or floats.
        scale: Step of the integer grid; 1 for floats.
        zero_point: Zero point of the integer grid; 0 for floats.
        y: Wanted outputs, float32 [groups, rows, outputs].
    """

    integers: NDArray[Any]
    scale: float
    zero_point: int
    y: NDArray[np.float32]

    @property
    def x(self) -> NDArray[np.float32]:
        """Return the inputs of the layer, as floats."""
        values = self.integers.astype(np.float32)
        values -= np.float32(self.zero_point)
        values *= np.float32(self.scale)
        return values

    def __len__(self) -> int:
        return int(self.integers.shape[1])


def moments_of(parts: Sequence[Rows]) -> Moments:
    """Return the moments of all rows; there is at least one part."""
    total: Moments | None = None
    for chunk in _chunks(parts):
        x = np.concatenate([part.x for part in chunk], axis=1)
        more = Moments.of(x, np.concatenate([part.y for part in chunk], axis=1))
        if total is None:
            total = more
        else:
            total += more
    assert total is not None
    return total


def _chunks(parts: Sequence[Rows]) -> Iterator[Sequence[Rows]]:
    """Join parts up to :data:`_TOGETHER` rows, since a matrix of products for each part would take longer."""
    start, rows = 0, 0
    for position, part in enumerate(parts):
        rows += len(part)
        if rows >= _TOGETHER or position == len(parts) - 1:
            yield parts[start : position + 1]
            start, rows = position + 1, 0


def best_bias(parts: Sequence[Rows], weight: Floats) -> NDArray[np.float64]:
    """Return the bias with which y − W x − b is 0 on average, [groups, outputs], for W [groups, outputs, inputs]."""
    x = np.sum([part.x.sum(1, dtype=np.float64) for part in parts], axis=0)
    y = np.sum([part.y.sum(1, dtype=np.float64) for part in parts], axis=0)
    shift: NDArray[np.float64] = (y - (weight @ x[:, :, None])[:, :, 0]) / sum(map(len, parts))
    return shift


def error(parts: Sequence[Rows], weight: Floats, bias: NDArray[np.float64]) -> float:
    """Return the mean of (y − W x − b)² over rows, summed over outputs, for W [groups, outputs, inputs]."""
    across, shift = weight.astype(np.float32).swapaxes(1, 2), bias.astype(np.float32)[:, None, :]
    lost = 0.0
    for part in parts:
        away = part.x @ across
        away += shift
        away -= part.y
        lost += float(np.square(away, out=away).sum(dtype=np.float64))
    return lost / sum(map(len, parts))


def energy(parts: Sequence[Rows]) -> float:
    """Return the mean of y² over rows, summed over outputs."""
    return sum(float(np.square(part.y).sum(dtype=np.float64)) for part in parts) / sum(map(len, parts))
