"""Bounds of a mean by resampling, for metrics that are not simply right or wrong.

The studentized bootstrap, or bootstrap-t: the mean of each resample is taken in units of that resample's own standard
error, t = (x̄* - x̄) / s*, and the bounds of the mean are x̄ - s·t(1 - α) and x̄ - s·t(α). It follows the skew of the
values, and its error falls with 1/n where that of percentiles falls with 1/√n: with 30 values of an exponential
distribution 95 of 100 intervals hold the mean, where bias-corrected percentiles (BCa) hold 93.

Reference: P. Hall, 'Theoretical comparison of bootstrap confidence intervals', Annals of Statistics 16 (1988);
B. Efron, R. Tibshirani, 'An Introduction to the Bootstrap' (1993), chapter 12. Everything is seeded: the same values
and seed give the same bounds. Values that are all equal bound their mean by itself, however few they are; so a caller
that decides on these bounds asks for a minimum number of samples.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress.statistics.bounds import Bounds, check_probability

#: Resamples per call.
RESAMPLES = 4000

#: Fewer samples bound no mean by resampling: values that happen to be equal would bound it by themselves.
LEAST_FOR_RESAMPLING = 30

#: Stands for a standard deviation of 0: a quotient by it is beyond any other, and not infinite.
_NO_SPREAD = 1e-300

_VALUES_AT_ONCE = 1 << 22  # 32 MiB of float64 per block of resamples


def mean_interval(values: ArrayLike, level: float = 0.95, seed: int = 0) -> Bounds:
    """Return the two-sided interval of the mean.

    Args:
        values: Values of shape ``(n,)``, finite, at least one.
        level: Coverage, in (0, 1).
        seed: Seed of the resampling, ≥ 0.

    Raises:
        ValueError: ``values`` has another shape, is empty or not finite, or ``level`` is out of its range.
    """
    check_probability("level", level)
    return _studentized(_checked(values), (1 - level) / 2, seed)


def paired_mean_difference_bounds(a: ArrayLike, b: ArrayLike, alpha: float = 0.05, seed: int = 0) -> Bounds:
    """Return one-sided bounds of mean(a - b), where ``a[i]`` and ``b[i]`` come from the same sample.

    Args:
        a: Values of shape ``(n,)``, finite, at least one.
        b: Values of the same shape, on the same samples.
        alpha: Error probability of each bound alone, in (0, 0.5).
        seed: Seed of the resampling, ≥ 0.

    Raises:
        ValueError: The shapes differ, are empty, a value is not finite, or ``alpha`` is out of its range.
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be inside (0, 0.5), not {alpha}")
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal lengths, not {len(first)} and {len(second)}")
    return _studentized(first - second, alpha, seed)


def _studentized(values: NDArray[np.float64], alpha: float, seed: int) -> Bounds:
    mean = float(values.mean())
    scale = float(np.abs(values - mean).max())
    if scale == 0:
        return Bounds(mean, mean)
    scaled = (values - mean) / scale  # squares of raw values could overflow
    low, high = np.quantile(_t_values(scaled, seed), [alpha, 1 - alpha])
    error = scale * float(scaled.std(ddof=1)) / math.sqrt(len(values))
    # A handful of values can throw t far beyond all of them.
    lower = max(float(values.min()), mean - float(high) * error)
    return Bounds(min(lower, mean), max(mean, min(float(values.max()), mean - float(low) * error)))


def _t_values(centred: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The mean of each resample over its own standard error; beyond all others where all that was drawn is equal."""
    random = np.random.default_rng(seed)
    n = len(centred)
    means, spreads = np.empty(RESAMPLES), np.empty(RESAMPLES)
    block = max(1, _VALUES_AT_ONCE // n)
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        drawn = centred[random.integers(0, n, size=(rows, n))]
        means[start : start + rows] = drawn.mean(axis=1)
        # Rounding gives equal values a spread, or none, as their number has it.
        varied = drawn.min(axis=1) < drawn.max(axis=1)
        spreads[start : start + rows] = np.where(varied, drawn.std(axis=1, ddof=1), _NO_SPREAD)
    return means * math.sqrt(n) / spreads


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"need one axis of at least one finite number, not shape {array.shape}")
    return array
