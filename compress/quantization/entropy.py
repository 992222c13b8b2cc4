"""Observer for the range that loses the least information.

Migacz, "8-bit Inference with TensorRT", GTC 2017: of all thresholds, take the one with the least Kullback-Leibler
divergence of what quantization leaves, Q, from what was seen, P:

    D(P ‖ Q) = Σ P(i) · log(P(i) / Q(i))

P holds what lies beyond the threshold in its outermost bins. Q knows only how many values each level of the grid
holds, of those inside, and spreads them evenly over the bins of the level. So clipping costs by what it moves, and a
wide range by what its coarse levels blur.

Two things differ from the slides. The bins are those of :class:`Histogram`, 0.8 % wide: with bins of equal width an
outlier, 10⁴ times its neighbours, would leave the neighbours one bin, in which nothing can be seen to blur. And zeros
are left out: 0 is on every grid, and ReLU's zeros would outweigh all else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.quantization.grid import Range, activation_grid
from compress.quantization.histogram import Bins, Histogram
from compress.target.target import QuantizationFlavour

#: Thresholds tried, each this much below the one before.
RATIO = 2.0 ** (-1 / 8)

#: Share of the values that no threshold clips more of.
MOST_CLIPPED = 0.1

# Share of Q that is spread evenly: a level that only clipped values reach is unlikely, not impossible.
_SMOOTHING = 1e-4


class EntropyObserver(Histogram):
    """Observer of the range with the least Kullback-Leibler divergence over all values seen.

    Args:
        flavour: Flavour of the grid that the values are rounded to.
    """

    def __init__(self, flavour: QuantizationFlavour) -> None:
        super().__init__()
        self._flavour = flavour

    def range(self) -> Range:
        """Return the best range; all values where only zeros were seen."""
        bins = self.bins()
        filled = (bins.low != 0) | (bins.high != 0)
        bins = Bins(bins.low[filled], bins.high[filled], bins.counts[filled])
        everything = Range(min(self.low, 0.0), max(self.high, 0.0))
        if not bins.counts.sum():
            return everything
        candidates = [
            Range(max(everything.low, -threshold), min(everything.high, threshold))
            for threshold in thresholds(bins)
        ]
        return min(candidates, key=lambda candidate: self._divergence(bins, candidate))

    def _divergence(self, bins: Bins, candidate: Range) -> float:
        levels = level_edges(candidate, self._flavour)
        edges = np.unique(np.concatenate([levels, bins.low, bins.high]))
        edges = edges[(levels[0] <= edges) & (edges <= levels[-1])]
        reached = _counted_below(bins, edges)
        clipped = reached[0], bins.counts.sum() - reached[-1]
        level = np.searchsorted(levels, edges[:-1], side="right")
        return divergence(np.diff(reached), np.diff(edges), level, clipped)


def thresholds(bins: Bins) -> list[float]:
    """Return magnitudes to clip at, from the largest value down to where more than :data:`MOST_CLIPPED` is clipped."""
    magnitude = np.maximum(np.abs(bins.low), np.abs(bins.high))
    order = np.argsort(magnitude)
    share = np.cumsum(bins.counts[order]) / bins.counts.sum()
    smallest = magnitude[order][np.searchsorted(share, 1 - MOST_CLIPPED)]
    steps = int(np.ceil(np.log(smallest / magnitude.max()) / np.log(RATIO)))
    return [float(magnitude.max() * RATIO**step) for step in range(steps + 1)]


def level_edges(candidate: Range, flavour: QuantizationFlavour) -> NDArray[np.float64]:
    """Return the edges between levels of a candidate's grid, [levels + 1], ascending, in the tensor's unit."""
    grid = activation_grid(candidate, flavour)
    levels = np.arange(grid.lowest, grid.highest + 2, dtype=np.float64)
    return grid.scale * (levels - grid.zero_point - 0.5)


def divergence(
    counts: NDArray[np.float64],
    widths: NDArray[np.float64],
    level: NDArray[np.int64],
    clipped: tuple[float, float],
) -> float:
    """Return D(P ‖ Q) in nats; infinite where no value lies inside.

    Args:
        counts: Number of values in each bin, [bins].
        widths: Widths of the bins, > 0.
        level: Level of the grid that each bin belongs to.
        clipped: Number of values below the first bin, and above the last one.
    """
    inside = counts.sum()
    if not inside:
        return np.inf
    p = counts.copy()
    p[0] += clipped[0]
    p[-1] += clipped[1]
    p /= p.sum()
    room = np.where(p > 0, widths, 0.0)
    density = np.bincount(level, counts) / np.maximum(np.bincount(level, room), np.finfo(float).tiny)
    q = (1 - _SMOOTHING) * room * density[level] / inside + _SMOOTHING * widths / widths.sum()
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def _counted_below(bins: Bins, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many values lie below each edge, with the values of a bin spread evenly over it."""
    reached = np.cumsum(bins.counts, dtype=np.float64)
    counts = np.stack([np.concatenate([[0.0], reached[:-1]]), reached], axis=1).reshape(-1)
    ends = np.stack([bins.low, bins.high], axis=1).reshape(-1)
    below: NDArray[np.float64] = np.interp(edges, ends, counts, left=0.0, right=reached[-1])
    return below
