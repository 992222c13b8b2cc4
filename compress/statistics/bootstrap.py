"""Bounds of a mean by resampling, for metrics that are not simply right or wrong.

BCa (bias-corrected and accelerated): the percentiles that are read off the resampled means are shifted by
z0, for the bias of their median, and by a, for the skew of the values::

    p(z) = Φ(z0 + (z0 + z) / (1 - a(z0 + z))),   a = Σ(x - x̄)³ / 6(Σ(x - x̄)²)^1.5

Reference: B. Efron, 'Better bootstrap confidence intervals', JASA 82 (1987). Everything is seeded: the same
values and seed give the same bounds. Values that are all equal bound their mean by itself, however few they
are; so a caller that decides on these bounds asks for a minimum number of samples.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compress.statistics.bounds import Bounds, check_probability, normal_quantile

#: Resampled means per call.
RESAMPLES = 4000

#: Fewer samples bound no mean by resampling: values that happen to be equal would bound it by themselves.
LEAST_FOR_RESAMPLING = 30

_VALUES_AT_ONCE = 1 << 22  # 32 MiB of float64 per block of resamples


def mean_interval(values: ArrayLike, level: float = 0.95, seed: int = 0) -> Bounds:
    """Two-sided interval of the mean.

    Args:
        values: Shape ``(n,)``, finite, at least one.
        level: Coverage, inside (0, 1).
        seed: Of the resampling, from 0.

    Raises:
        ValueError: ``values`` has another shape, is empty or not finite, or ``level`` is out of its range.
    """
    check_probability("level", level)
    return _bca(_checked(values), (1 - level) / 2, seed)


def paired_mean_difference_bounds(a: ArrayLike, b: ArrayLike, alpha: float = 0.05, seed: int = 0) -> Bounds:
    """One-sided bounds of mean(a - b), where ``a[i]`` and ``b[i]`` come from the same sample.

    Args:
        a: Shape ``(n,)``, finite, at least one.
        b: The same shape.
        alpha: Error of each bound alone, inside (0, 0.5).
        seed: Of the resampling, from 0.

    Raises:
        ValueError: The shapes differ, are empty, a value is not finite, or ``alpha`` is out of its range.
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be inside (0, 0.5), not {alpha}")
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal lengths, not {len(first)} and {len(second)}")
    return _bca(first - second, alpha, seed)


def _bca(values: NDArray[np.float64], alpha: float, seed: int) -> Bounds:
    mean = float(values.mean())
    if values.min() == values.max():
        return Bounds(mean, mean)
    deviation = values - mean
    deviation /= np.abs(deviation).max()  # the skew has no unit; cubes of raw values could overflow
    acceleration = float((deviation**3).sum()) / (6 * float((deviation**2).sum()) ** 1.5)
    means = _resampled_means(values, seed)
    # Half of the ties count as below; the shift stays finite when all means are on one side.
    below = (np.count_nonzero(means < mean) + 0.5 * np.count_nonzero(means == mean)) / len(means)
    bias = normal_quantile(float(np.clip(below, 0.5 / len(means), 1 - 0.5 / len(means))))

    def corrected(z: float) -> float:
        shifted = bias + z
        return NormalDist().cdf(bias + shifted / max(1 - acceleration * shifted, 1e-9))

    z = normal_quantile(1 - alpha)
    lower, upper = np.quantile(means, [corrected(-z), corrected(z)])
    return Bounds(float(lower), float(upper))


def _resampled_means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    n = len(values)
    means = np.empty(RESAMPLES)
    block = max(1, _VALUES_AT_ONCE // n)
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        means[start : start + rows] = values[random.integers(0, n, size=(rows, n))].mean(axis=1)
    return means


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"need one axis of at least one finite number, not shape {array.shape}")
    return array
