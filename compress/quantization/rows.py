"""What a layer reads in the quantized network, and what it should write: rows that corrections are fitted to."""

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
        integers: What the layer reads, [groups, rows, inputs], on a grid, or floats.
        scale: Step of the integer grid; 1 for floats.
        zero_point: Zero point of the integer grid; 0 for floats.
        y: What it should write, float32 [groups, rows, outputs].
    """

    integers: NDArray[Any]
    scale: float
    zero_point: int
    y: NDArray[np.float32]

    @property
    def x(self) -> NDArray[np.float32]:
        """What the layer reads, as floats."""
        found = self.integers.astype(np.float32)
        found -= np.float32(self.zero_point)
        found *= np.float32(self.scale)
        return found

    def __len__(self) -> int:
        return int(self.integers.shape[1])


def moments_of(parts: Sequence[Rows]) -> Moments:
    """The moments of all rows; there is one part at least."""
    found: Moments | None = None
    for chunk in _chunks(parts):
        x = np.concatenate([part.x for part in chunk], axis=1)
        more = Moments.of(x, np.concatenate([part.y for part in chunk], axis=1))
        if found is None:
            found = more
        else:
            found += more
    assert found is not None
    return found


def _chunks(parts: Sequence[Rows]) -> Iterator[Sequence[Rows]]:
    """Parts together, up to :data:`_TOGETHER` rows: a matrix of products for each would take longer than they do."""
    start, rows = 0, 0
    for position, part in enumerate(parts):
        rows += len(part)
        if rows >= _TOGETHER or position == len(parts) - 1:
            yield parts[start : position + 1]
            start, rows = position + 1, 0


def best_bias(parts: Sequence[Rows], weight: Floats) -> NDArray[np.float64]:
    """The bias with which y − W x − b is 0 on average, [groups, outputs], for W [groups, outputs, inputs]."""
    x = np.sum([part.x.sum(1, dtype=np.float64) for part in parts], axis=0)
    y = np.sum([part.y.sum(1, dtype=np.float64) for part in parts], axis=0)
    shift: NDArray[np.float64] = (y - (weight @ x[:, :, None])[:, :, 0]) / sum(map(len, parts))
    return shift


def error(parts: Sequence[Rows], weight: Floats, bias: NDArray[np.float64]) -> float:
    """The mean of (y − W x − b)² over rows, summed over outputs, for W [groups, outputs, inputs]."""
    across, shift = weight.astype(np.float32).swapaxes(1, 2), bias.astype(np.float32)[:, None, :]
    lost = 0.0
    for part in parts:
        away = part.x @ across
        away += shift
        away -= part.y
        lost += float(np.square(away, out=away).sum(dtype=np.float64))
    return lost / sum(map(len, parts))


def energy(parts: Sequence[Rows]) -> float:
    """The mean of y² over rows, summed over outputs."""
    return sum(float(np.square(part.y).sum(dtype=np.float64)) for part in parts) / sum(map(len, parts))
