"""Quantiles of Student's t distribution without SciPy: bounds where the noise itself is estimated from few values."""

from __future__ import annotations

import math

from compress.statistics.bounds import check_probability

_BISECTIONS = 80


def t_quantile(probability: float, freedom: int) -> float:
    """Return the value that a t-distributed variable stays below with this probability.

    Found by bisection of the exact distribution function, in the angle θ = arctan(t / √ν), where it is a finite sum.

    Reference: M. Abramowitz, I. A. Stegun, 'Handbook of Mathematical Functions' (1964), 26.7.3 and 26.7.4.

    Args:
        probability: Probability, in (0, 1).
        freedom: Degrees of freedom ν, ≥ 1.

    Raises:
        ValueError: An argument is out of its range.
    """
    check_probability("probability", probability)
    if freedom < 1:
        raise ValueError(f"freedom must be at least 1, not {freedom}")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, math.pi / 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if (1 + _within(middle, freedom)) / 2 < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """Return P(|T| < √ν tan θ)."""
    cosine = math.cos(angle)
    odd = freedom % 2
    term = total = 0.0 if freedom == 1 else (cosine if odd else 1.0)
    for k in range(2 + odd, freedom, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
