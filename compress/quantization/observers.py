"""Observers: what is remembered of a tensor while batches pass, in memory that does not grow with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from compress.quantization.grid import Range, activation_grid
from compress.quantization.settings import Settings
from compress.target import QuantizationFlavour

#: Weight of the past in a moving average, a batch.
MOMENTUM = 0.9

_KEPT_BITS = 16  # of float32's 32: sign, exponent and 7 bits of mantissa, so a bin is 0.8 % wide
_DROPPED_BITS = 32 - _KEPT_BITS


@dataclass(frozen=True)
class Bins:
    """Bins of a histogram.

    Attributes:
        low: Lower edges, [bins], float64, ascending.
        high: Upper edges, [bins], float64.
        counts: How many values each holds, [bins], int64.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64]


class Observer(Protocol):
    """Sees a tensor batch by batch and then names its range."""

    def observe(self, values: NDArray[np.float32]) -> None:
        """Take note of one batch; the array is not kept. Values are finite, at least one."""

    def range(self) -> Range:
        """The range to quantize to; at least one batch has been seen."""


class MinMaxObserver:
    """The smallest and the largest value ever seen."""

    def __init__(self) -> None:
        self._low = np.inf
        self._high = -np.inf

    def observe(self, values: NDArray[np.float32]) -> None:
        """Widen the range where needed."""
        self._low = min(self._low, float(values.min()))
        self._high = max(self._high, float(values.max()))

    def range(self) -> Range:
        """Everything seen."""
        return Range(self._low, self._high)


class MovingAverageObserver:
    """Exponential moving average of each batch's smallest and largest value: rare outliers fade.

    Jacob et al. 2017, arXiv 1712.05877, section 3.1.
    """

    def __init__(self, momentum: float = MOMENTUM) -> None:
        self._momentum = momentum
        self._bounds: NDArray[np.float64] | None = None

    def observe(self, values: NDArray[np.float32]) -> None:
        """Move towards the batch's bounds; the first batch sets them."""
        bounds = np.array([values.min(), values.max()], np.float64)
        past = bounds if self._bounds is None else self._bounds
        self._bounds = self._momentum * past + (1 - self._momentum) * bounds

    def range(self) -> Range:
        """The averaged bounds."""
        low, high = (np.inf, -np.inf) if self._bounds is None else self._bounds
        return Range(float(low), float(high))


class Histogram:
    """A histogram whose bins are float32's own leading bits.

    One bin for each sign, exponent and 7-bit mantissa: 2¹⁶ counters, whatever the range turns out to be. So one
    pass is enough, no bin is ever split or merged, an outlier costs the other values no resolution, and
    neither the order nor the size of the batches matters.

    Attributes:
        low: The smallest value seen.
        high: The largest.
    """

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self._counts = np.zeros(1 << _KEPT_BITS, np.int64)

    def observe(self, values: NDArray[np.float32]) -> None:
        """Count every value."""
        bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
        self._counts += np.bincount(bits >> _DROPPED_BITS, minlength=self._counts.size)
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

    def bins(self) -> Bins:
        """The bins that hold something, in ascending order."""
        index = np.flatnonzero(self._counts)
        near_zero = (index.astype(np.uint32) << _DROPPED_BITS).view(np.float32)
        width = np.spacing(np.abs(near_zero)).astype(np.float64) * (1 << _DROPPED_BITS)
        width[near_zero == 0] = 0.0  # besides 0 itself only the smallest subnormal numbers are in these
        far = near_zero + np.copysign(width, near_zero)
        order = np.argsort(near_zero, kind="stable")
        edges = np.clip(np.sort(np.stack([near_zero, far]), axis=0), self.low, self.high)[:, order]
        return Bins(edges[0], edges[1], self._counts[index][order])


class PercentileObserver(Histogram):
    """The range that holds a share of all values, as much cut off below as above.

    Args:
        percentile: The share, in percent, at most 100.
    """

    def __init__(self, percentile: float) -> None:
        super().__init__()
        self._cut = (100 - percentile) / 200

    def range(self) -> Range:
        """The two percentiles, with the values of a bin spread evenly over it."""
        bins = self.bins()
        reached = np.cumsum(bins.counts) / bins.counts.sum()
        # The distribution function: it rises from each bin's lower to its upper edge and is flat between bins.
        shares = np.stack([np.concatenate([[0.0], reached[:-1]]), reached], axis=1).reshape(-1)
        edges = np.stack([bins.low, bins.high], axis=1).reshape(-1)
        return Range(*(float(edge) for edge in np.interp([self._cut, 1 - self._cut], shares, edges)))


class MseObserver(Histogram):
    """The range whose quantization has the least mean squared error over everything seen.

    A narrower range saturates the outliers and resolves the rest more finely. Sung et al. 2015,
    arXiv 1511.06488, section 3; here each end is searched in turn, because activations are not symmetric.

    Args:
        flavour: The grid that the values are rounded to.
    """

    _shares = np.linspace(1.0, 0.2, 41)  # of the range seen
    _rounds = 2

    def __init__(self, flavour: QuantizationFlavour) -> None:
        super().__init__()
        self._flavour = flavour

    def range(self) -> Range:
        """The best range found."""
        bins = self.bins()
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        best = Range(low, high)
        for _ in range(self._rounds):
            best = self._least(bins, [Range(best.low, float(share * high)) for share in self._shares])
            best = self._least(bins, [Range(float(share * low), best.high) for share in self._shares])
        return best

    def _least(self, bins: Bins, candidates: list[Range]) -> Range:
        return min(candidates, key=lambda candidate: self._squared_error(bins, candidate))

    def _squared_error(self, bins: Bins, candidate: Range) -> float:
        """Sum over everything seen of the squared difference to its quantized value."""
        grid = activation_grid(candidate, self._flavour)
        centre = (bins.low + bins.high) / 2
        error = (grid.round(centre) - centre) ** 2
        return float(error @ bins.counts)


def new_observer(settings: Settings, flavour: QuantizationFlavour) -> Observer:
    """A new observer for the method of the settings."""
    if settings.method == "min-max":
        return MinMaxObserver()
    if settings.method == "moving-average":
        return MovingAverageObserver()
    if settings.method == "percentile":
        return PercentileObserver(settings.percentile)
    return MseObserver(flavour)
