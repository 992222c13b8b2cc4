"""The interval of one proportion."""

from __future__ import annotations

import math

from compress.statistics.bounds import Bounds, check_probability, normal_quantile


def wilson(successes: int, n: int, level: float = 0.95) -> Bounds:
    """Return Wilson's two-sided score interval for a share.

    With p = successes / n and z the normal quantile at (1 + level) / 2::

        (p + z²/2n ± z·sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n)

    Reference: E. B. Wilson, 'Probable inference, the law of succession, and statistical inference',
    JASA 22 (1927).

    Args:
        successes: Number of successes, from 0 to ``n``.
        n: Number of trials, ≥ 1.
        level: Coverage, in (0, 1).

    Raises:
        ValueError: An argument is out of its range.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, not {successes} of {n}")
    check_probability("level", level)
    z2 = normal_quantile((1 + level) / 2) ** 2
    p = successes / n
    centre = p + z2 / (2 * n)
    half_width = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    scale = 1 + z2 / n
    # At 0 and n the formula is exactly 0 and 1; rounding must not leave it a hair inside.
    lower = 0.0 if successes == 0 else (centre - half_width) / scale
    upper = 1.0 if successes == n else (centre + half_width) / scale
    return Bounds(lower, upper)
