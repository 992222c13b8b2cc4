"""Two networks, right or wrong on the same samples.

Of n samples, ``b`` are those that the baseline gets right and the candidate wrong, and ``c`` the reverse. The
drop in accuracy is (b - c) / n, and the samples on which both agree say nothing about its sign.
"""

from __future__ import annotations

import math

from compress.statistics import binomial
from compress.statistics.bounds import Bounds, check_probability, normal_quantile

_BISECTIONS = 60  # halves [-1, 1] down to the spacing of doubles


def tango_bounds(b: int, c: int, n: int, alpha: float = 0.05) -> Bounds:
    """Return Tango's score bounds for the drop (b - c) / n.

    Each bound alone errs with probability ``alpha``; both together are the two-sided interval at level
    1 - 2·alpha. The bounds are the two roots θ of ::

        (b - c - nθ) / sqrt(n (2q + θ(1 - θ))) = ±z

    where z is the normal quantile at 1 - alpha and q, the share of ``c`` samples, is its maximum-likelihood
    estimate under the drop θ: q = (sqrt(B² - 4AC) - B) / 2A with A = 2n, B = -b - c + (2n - b + c)θ,
    C = -cθ(1 - θ).

    Reference: T. Tango, 'Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design', Statistics in Medicine 17 (1998).

    Args:
        b: Number of samples that only the baseline gets right.
        c: Number of samples that only the candidate gets right.
        n: Number of all samples, ≥ 1.
        alpha: One-sided error probability, in (0, 0.5).

    Returns:
        Both bounds in [-1, 1], as fractions (0.01 is one point); positive means that the candidate is worse.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check_counts(b, c, n)
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be inside (0, 0.5), not {alpha}")
    z = normal_quantile(1 - alpha)
    return Bounds(-_upper_root(c, b, n, z), _upper_root(b, c, n, z))


def _upper_root(b: int, c: int, n: int, z: float) -> float:
    low, high = (b - c) / n, 1.0  # the score falls from 0 at the estimate to -inf at 1
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _score(b, c, n, middle) > -z:
            low = middle
        else:
            high = middle
    return high


def _score(b: int, c: int, n: int, theta: float) -> float:
    variance = n * (2 * _share_of_c(b, c, n, theta) + theta * (1 - theta))
    numerator = b - c - n * theta
    return numerator / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, numerator)


def _share_of_c(b: int, c: int, n: int, theta: float) -> float:
    qa = 2 * n
    qb = -b - c + (2 * n - b + c) * theta
    qc = -c * theta * (1 - theta)
    root = math.sqrt(max(qb * qb - 4 * qa * qc, 0.0))
    # Two forms of the same root: each is used where it subtracts nothing.
    return (root - qb) / (2 * qa) if qb <= 0 else -2 * qc / (root + qb)


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided p value of McNemar's exact test that neither network is better.

    Under that hypothesis ``b`` ~ Binomial(b + c, 1/2); p = min(1, 2·P(K <= min(b, c))).

    Reference: Q. McNemar, Psychometrika 12 (1947); the exact form in A. Agresti, 'Categorical Data Analysis'.

    Raises:
        ValueError: A count is negative.
    """
    _check_counts(b, c, max(b + c, 1))
    tail = binomial.at_most(binomial.pmf(b + c, 0.5))[min(b, c)]
    return min(1.0, 2.0 * float(tail))


def samples_to_decide(psi: float, margin: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return the number of samples that a pass needs when the candidate is in truth as good as the baseline.

    n = (z(1 - alpha) + z(power))²·psi / margin², but never fewer than the z²(1 - margin)/margin that even a
    candidate without a single disagreement needs to pass :func:`tango_bounds`.

    Reference: the normal approximation in J.-M. Nam, 'Establishing equivalence of two treatments and sample
    size requirements in matched-pairs design', Biometrics 53 (1997).

    Args:
        psi: Disagreement rate (b + c) / n, in [0, 1].
        margin: Largest accepted drop, as a fraction in (0, 1).
        alpha: One-sided error probability, in (0, 0.5).
        power: Probability of a pass, in (0, 1).

    Raises:
        ValueError: An argument is out of its range.
    """
    if not 0.0 <= psi <= 1.0:
        raise ValueError(f"psi must be in [0, 1], not {psi}")
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be inside (0, 0.5), not {alpha}")
    check_probability("margin", margin)
    check_probability("power", power)
    z = normal_quantile(1 - alpha)
    by_power = (z + normal_quantile(power)) ** 2 * psi / margin**2
    without_disagreement = z * z * (1 - margin) / margin
    return math.floor(max(by_power, without_disagreement)) + 1


def _check_counts(b: int, c: int, n: int) -> None:
    if b < 0 or c < 0 or n < 1 or b + c > n:
        raise ValueError(f"need b >= 0, c >= 0 and b + c <= n with n >= 1, not b={b}, c={c}, n={n}")
