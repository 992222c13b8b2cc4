"""Observers: statistics of a tensor over batches, in memory that does not grow with them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from compress.quantization.entropy import EntropyObserver
from compress.quantization.grid import Range, activation_grid
from compress.quantization.histogram import Bins, Bounds, Histogram, bounds_of
from compress.quantization.settings import Settings
from compress.target.target import QuantizationFlavour

#: Weight of the past in a moving average, a batch.
MOMENTUM = 0.9


class Observer(Protocol):
    """Observer that sees a tensor batch by batch and then returns its range."""

    def observe(self, values: NDArray[np.float32], bounds: Bounds | None = None) -> None:
        """Take note of one batch; the array is not kept.

        Args:
            values: Values, finite, at least one.
            bounds: Smallest and largest value of the batch, where ``values`` are only a part of it; None otherwise.
        """

    def range(self) -> Range:
        """Return the range to quantize to; at least one batch must have been seen."""


class MinMaxObserver:
    """Observer of the smallest and the largest value ever seen."""

    def __init__(self) -> None:
        self._low = np.inf
        self._high = -np.inf

    def observe(self, values: NDArray[np.float32], bounds: Bounds | None = None) -> None:
        """Widen the range where needed."""
        low, high = bounds or bounds_of(values)
        self._low, self._high = min(self._low, low), max(self._high, high)

    def range(self) -> Range:
        """Return the range of all values seen."""
        return Range(self._low, self._high)


class MovingAverageObserver:
    """Observer of the moving average of each batch's smallest and largest value, in which rare outliers fade.

    Jacob et al. 2017, arXiv 1712.05877, section 3.1.
    """

    def __init__(self, momentum: float = MOMENTUM) -> None:
        self._momentum = momentum
        self._bounds: NDArray[np.float64] | None = None

    def observe(self, values: NDArray[np.float32], bounds: Bounds | None = None) -> None:
        """Move towards the batch's bounds; the first batch sets them."""
        bounds_seen = np.array(bounds or bounds_of(values), np.float64)
        past = bounds_seen if self._bounds is None else self._bounds
        self._bounds = self._momentum * past + (1 - self._momentum) * bounds_seen

    def range(self) -> Range:
        """Return the averaged bounds."""
        low, high = (np.inf, -np.inf) if self._bounds is None else self._bounds
        return Range(float(low), float(high))


class PercentileObserver(Histogram):
    """Observer of the range that holds a share of all values, with equal shares cut off below and above.

    Args:
        percentile: Share of the values inside the range, in percent, at most 100.
    """

    def __init__(self, percentile: float) -> None:
        super().__init__()
        self._cut = (100 - percentile) / 200

    def range(self) -> Range:
        """Return the two percentiles, with the values of a bin spread evenly over it."""
        bins = self.bins()
        reached = np.cumsum(bins.counts) / bins.counts.sum()
        # The distribution function: it rises from each bin's lower to its upper edge and is flat between bins.
        shares = np.stack([np.concatenate([[0.0], reached[:-1]]), reached], axis=1).reshape(-1)
        edges = np.stack([bins.low, bins.high], axis=1).reshape(-1)
        return Range(*(float(edge) for edge in np.interp([self._cut, 1 - self._cut], shares, edges)))


class MseObserver(Histogram):
    """Observer of the range whose quantization has the least mean squared error over all values seen.

    A narrower range saturates the outliers and resolves the rest more finely. Sung et al. 2015,
    arXiv 1511.06488, section 3; here each end is searched in turn, because activations are not symmetric.

    Args:
        flavour: Flavour of the grid that the values are rounded to.
    """

    _coarse = 2.0 ** -np.arange(0, 14, 0.25)  # of the range seen: an outlier may be 10⁴ times its neighbours
    _fine = np.linspace(0.82, 1.22, 21)  # of the best of these
    _rounds = 2

    def __init__(self, flavour: QuantizationFlavour) -> None:
        super().__init__()
        self._flavour = flavour

    def range(self) -> Range:
        """Return the best range found."""
        bins = self.bins()
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        best = Range(low, high)
        for _ in range(self._rounds):
            for shares in (high * self._coarse, best.high * self._fine):
                best = self._least(bins, best, [Range(best.low, min(end, high)) for end in shares.tolist()])
            for shares in (low * self._coarse, best.low * self._fine):
                best = self._least(bins, best, [Range(max(end, low), best.high) for end in shares.tolist()])
        return best

    def _least(self, bins: Bins, best: Range, others: list[Range]) -> Range:
        """Return the candidate with the least squared error over all values seen; the first of equal ones."""
        candidates = [best, *others]
        grids = [activation_grid(candidate, self._flavour) for candidate in candidates]
        scale = np.array([[grid.scale] for grid in grids])  # [candidates, 1]
        lowest = np.array([[grid.lowest - grid.zero_point] for grid in grids])
        highest = np.array([[grid.highest - grid.zero_point] for grid in grids])
        centre = (bins.low + bins.high) / 2
        # As Grid.round, for all candidates at once: there are hundreds for each tensor.
        error = np.rint(centre / scale)  # [candidates, bins]
        np.clip(error, lowest, highest, out=error)
        error *= scale
        error -= centre
        return candidates[int(np.argmin(np.square(error, out=error) @ bins.counts))]


def new_observer(settings: Settings, flavour: QuantizationFlavour) -> Observer:
    """Return a new observer for the method of the settings."""
    if settings.method == "min-max":
        return MinMaxObserver()
    if settings.method == "moving-average":
        return MovingAverageObserver()
    if settings.method == "percentile":
        return PercentileObserver(settings.percentile)
    if settings.method == "entropy":
        return EntropyObserver(flavour)
    return MseObserver(flavour)
