"""Intervals of quantiles from order statistics: right for any distribution, and the same on every run.

Of n independent values, K ~ Binomial(n, q) lie below the true q quantile. So the l-th smallest value is above
it with probability P(K < l), and the u-th smallest below it with probability P(K >= u), whatever the
distribution. Ties only make the interval more careful.

What decides a gate is exact in this sense: its error is at most what it says, and often less, since the probability
moves in steps. What is printed lies between two neighbouring order statistics, so that 95 % means 95 and not 97.

References: H. A. David, H. N. Nagaraja, 'Order Statistics', 3rd ed., section 7.1; for the median this is the sign test.
T. P. Hettmansperger, S. J. Sheather, 'Confidence intervals based on interpolated order statistics', Statistics and
Probability Letters 4 (1986), for the median; J. Nyblom, 'Note on interpolated order statistics', the same 14 (1992),
for any quantile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress.statistics import binomial
from compress.statistics.bounds import UNBOUNDED, Bounds, check_probability


def quantile_interval(values: ArrayLike, q: float, level: float = 0.95) -> Bounds | None:
    """Return the interpolated two-sided interval of the ``q`` quantile; None for too few values.

    Args:
        values: Values of shape ``(n,)``, in any order.
        q: Probability of the quantile, in (0, 1): 0.5 for the median, 0.99 for p99.
        level: Coverage, in (0, 1), with an equal error at each end.

    Raises:
        ValueError: ``values`` is not one axis of numbers, or an argument is out of its range.
    """
    check_probability("level", level)
    check_probability("q", q)
    ordered = _sorted_values(values)
    confidence = (1 + level) / 2
    upper = _interpolated_upper(ordered, q, confidence)
    lower = _interpolated_upper(-ordered[::-1], 1 - q, confidence)
    return None if upper is None or lower is None else Bounds(-lower, upper)


def median_log_ratio_bounds(log_ratios: ArrayLike, alpha: float = 0.05) -> Bounds:
    """Return one-sided bounds of the median of d = ln(candidate / baseline), exact for independent values.

    Args:
        log_ratios: Values of d, shape ``(n,)``; positive where the candidate is slower.
        alpha: Error probability of each bound alone, in (0, 0.5).

    Returns:
        The bounds; infinite on a side that too few values cannot bound (fewer than five at ``alpha`` = 0.05).

    Raises:
        ValueError: ``log_ratios`` is not one axis of numbers, or ``alpha`` is out of its range.
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be inside (0, 0.5), not {alpha}")
    return _order_statistic_bounds(log_ratios, 0.5, alpha)


def _interpolated_upper(ordered: NDArray[np.float64], q: float, confidence: float) -> float | None:
    """Return Nyblom's upper bound: between the r-th and the next value, where P(K < r) <= confidence < P(K <= r)."""
    n = len(ordered)
    if n < 2:
        return None
    at_most = binomial.at_most(binomial.pmf(n, q))  # P(K <= r), for r from 0 to n
    r = int(np.searchsorted(at_most, confidence, side="right"))
    if not 0 < r < n:
        return None
    below, above = confidence - at_most[r - 1], at_most[r] - confidence
    share = (n - r) * q * below / ((n - r) * q * below + r * (1 - q) * above)
    low, high = ordered[r - 1], ordered[r]
    # A weighted sum of two equal times can be smaller than both by rounding, and the quantile then lies outside.
    return float(min(low + share * (high - low), high))


def _order_statistic_bounds(values: ArrayLike, q: float, alpha: float) -> Bounds:
    ordered = _sorted_values(values)
    mass = binomial.pmf(len(ordered), q)
    below = np.flatnonzero(binomial.at_most(mass[:-1]) <= alpha)  # k with P(K <= k) <= alpha, so l = k + 1
    above = np.flatnonzero(binomial.at_least(mass)[1:] <= alpha)  # u - 1 with P(K >= u) <= alpha
    lower = float(ordered[below[-1]]) if below.size else UNBOUNDED.lower
    upper = float(ordered[above[0]]) if above.size else UNBOUNDED.upper
    return Bounds(lower, upper)


def _sorted_values(values: ArrayLike) -> NDArray[np.float64]:
    array: NDArray[Any] = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or np.isnan(array).any():
        raise ValueError(f"need one axis of numbers without NaN, not shape {array.shape}")
    return np.sort(array)
