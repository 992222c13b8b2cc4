"""Gaffke's bound of a mean, which holds even where few samples are informative.

Of n samples that hardly ever change, the bootstrap sees only what it was given: where none of them changed, it is sure
that none ever will. Gaffke's bound adds one sample at the worst value that a sample can have, and gives all n + 1 of
them random weights D that are uniform over the simplex (Dirichlet with parameters 1)::

    upper = the 1 - α quantile of  Σ D_i x_i + D_(n+1) · worst

For values of 0 and 1 it is Clopper and Pearson's exact bound, such as 3 / n at α = 0.05 where none of n is 1; for
many samples without extremes it comes to the normal approximation. That it holds for every distribution of bounded
values is proven for n = 1 and 2 and conjectured for all n; no counterexample is known, and by simulation it covers
(``python -m benchmarks run coverage``). Weights are drawn with a fixed seed: the same values give the same bounds.

References: N. Gaffke, 'Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
variable', Mathematical Methods of Statistics 14 (2005); M. Phan, P. Thomas, E. Learned-Miller, 'Towards practical mean
bounds for small samples', ICML 2021.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress.statistics.bounds import Bounds

#: Draws of the weights.
DRAWS = 4000

_VALUES_AT_ONCE = 1 << 22  # 32 MiB of float64 per block of draws


def bounded_mean_bounds(
    values: ArrayLike, lowest: float, highest: float, alpha: float = 0.05, seed: int = 0
) -> Bounds:
    """Return one-sided bounds of the mean of values that lie in a known range.

    Args:
        values: Values of shape ``(n,)``, finite, at least one. Values outside the range widen it.
        lowest: Lowest value that a sample can have.
        highest: Highest value that a sample can have.
        alpha: Error probability of each bound alone, in (0, 0.5).
        seed: Seed of the weights, ≥ 0.

    Raises:
        ValueError: ``values`` has another shape, is empty or not finite, or an argument is out of its range.
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be inside (0, 0.5), not {alpha}")
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"need one axis of at least one finite number, not shape {array.shape}")
    if not lowest <= highest:
        raise ValueError(f"lowest must not be above highest, not {lowest} and {highest}")
    lowest, highest = min(lowest, float(array.min())), max(highest, float(array.max()))
    distinct, counts = np.unique(array, return_counts=True)
    sums, totals, extra = _weights(distinct, counts, seed)
    mean = float(array.mean())
    low = float(np.quantile((sums + extra * lowest) / (totals + extra), alpha))
    high = float(np.quantile((sums + extra * highest) / (totals + extra), 1 - alpha))
    return Bounds(min(low, mean), max(high, mean))


def _weights(
    distinct: NDArray[np.float64], counts: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for each draw the weighted sum of samples, the sum of weights, and the added sample's weight.

    Weights are exponential and divided by their sum afterwards; equal values share one of the gamma distribution.
    """
    random = np.random.default_rng(seed)
    sums, totals = np.empty(DRAWS), np.empty(DRAWS)
    block = max(1, _VALUES_AT_ONCE // len(distinct))
    shape = counts.astype(np.float64)
    for start in range(0, DRAWS, block):
        rows = min(block, DRAWS - start)
        weights = random.standard_gamma(shape, size=(rows, len(distinct)))
        sums[start : start + rows] = weights @ distinct
        totals[start : start + rows] = weights.sum(axis=1)
    return sums, totals, random.standard_exponential(DRAWS)
