"""A histogram of any tensor in constant memory and one pass, for values of any range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_KEPT_BITS = 16  # of float32's 32: sign, exponent and 7 bits of mantissa, so a bin is 0.8 % wide
_DROPPED_BITS = 32 - _KEPT_BITS


#: The smallest and the largest of some values.
Bounds = tuple[float, float]


def bounds_of(values: NDArray[np.float32]) -> Bounds:
    """Return the smallest and the largest value."""
    return float(values.min()), float(values.max())


@dataclass(frozen=True)
class Bins:
    """Bins of a histogram.

    Attributes:
        low: Lower edges, [bins], float64, ascending.
        high: Upper edges, [bins], float64.
        counts: Number of values in each bin, [bins], int64.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64]


class Histogram:
    """A histogram whose bins are float32's own leading bits.

    One bin for each sign, exponent and 7-bit mantissa: 2¹⁶ counters, whatever the range turns out to be. So one
    pass is enough, no bin is ever split or merged, an outlier costs the other values no resolution, and
    neither the order nor the size of the batches matters.

    Attributes:
        low: Smallest value seen.
        high: Largest value seen.
    """

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self._counts = np.zeros(1 << _KEPT_BITS, np.int64)

    def observe(self, values: NDArray[np.float32], bounds: Bounds | None = None) -> None:
        """Count every value.

        Args:
            values: Values, finite, at least one.
            bounds: Smallest and largest value of the batch, where ``values`` are only a part of it; None otherwise.
        """
        bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
        self._counts += np.bincount(bits >> _DROPPED_BITS, minlength=self._counts.size)
        low, high = bounds or bounds_of(values)
        self.low, self.high = min(self.low, low), max(self.high, high)

    def bins(self) -> Bins:
        """Return the bins that are not empty, in ascending order."""
        index = np.flatnonzero(self._counts)
        near_zero = (index.astype(np.uint32) << _DROPPED_BITS).view(np.float32)
        width = np.spacing(np.abs(near_zero)).astype(np.float64) * (1 << _DROPPED_BITS)
        width[near_zero == 0] = 0.0  # besides 0 itself only the smallest subnormal numbers are in these
        far = near_zero + np.copysign(width, near_zero)
        order = np.argsort(near_zero, kind="stable")
        edges = np.clip(np.sort(np.stack([near_zero, far]), axis=0), self.low, self.high)[:, order]
        return Bins(edges[0], edges[1], self._counts[index][order])
