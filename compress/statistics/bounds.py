"""A lower and an upper bound."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Bounds(NamedTuple):
    """``lower <= upper``; infinite where the samples do not bound that side."""

    lower: float
    upper: float


#: No information: too few samples to bound either side.
UNBOUNDED = Bounds(-math.inf, math.inf)


def normal_quantile(probability: float) -> float:
    """Return the standard normal quantile.

    Raises:
        ValueError: ``probability`` is not inside (0, 1).
    """
    return NormalDist().inv_cdf(probability)


def check_probability(name: str, value: float) -> None:
    """Refuse a value that is not strictly between 0 and 1.

    Raises:
        ValueError: ``value`` is 0, 1 or outside.
    """
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must be inside (0, 1), not {value}")
