"""Changes of the level of a series of measurements, distinguished from noise.

Binary segmentation: the series is cut where its two parts differ most, if they differ more than chance allows, and
each part is searched again. Parts are compared by Wilcoxon's rank sum, standardised, so that one outlier does not
make a level and splits near the ends compete fairly. For n values with the ranks r, cut after t of them::

    Z(t) = |Σ(i ≤ t) r_i - t·(n + 1)/2| / sqrt(t·(n - t)·Σ(r_i - r̄)² / (n·(n - 1)))

What chance allows is read off the series itself: the largest Z of its random permutations. If nothing moved, any
order of the values is as likely as the one found, so a series without a change is marked with probability at most
``alpha``, whatever the distribution of its noise. A slow drift is not noise in that sense and is marked.

The intervals that come with each measurement are not used: they hold what varied within one session, while
sessions on different days differ by more than that.

References: L. Y. Vostrikova, 'Detecting "disorder" in multidimensional random processes', Soviet Mathematics
Doklady 24 (1981); B. Lausen, M. Schumacher, 'Maximally selected rank statistics', Biometrics 48 (1992); D. S.
Matteson, N. A. James, 'A nonparametric approach for multiple change point analysis of multivariate data', JASA 109
(2014), for the permutation test at each cut; D. Daly et al., 'The use of change point detection to identify
software performance regressions in a continuous integration system', ICPE 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Probability that a series in which nothing moved is marked. Several figures are looked at together, so each has less
#: than the usual 5 %.
ALPHA = 0.01

#: Values on each side of a cut: fewer reach no rank sum that chance would not, at an error of 1 %.
LEAST = 5

_PERMUTATIONS = 1999


@dataclass(frozen=True)
class ChangePoint:
    """A cut of a series.

    Attributes:
        index: Index of the first value of the new level.
        p: Share of permutations with a difference as large somewhere; at most ``alpha``.
    """

    index: int
    p: float


def change_points(values: ArrayLike, alpha: float = ALPHA, seed: int = 0) -> tuple[ChangePoint, ...]:
    """Return the cuts of a series, in order.

    A level has at least five values.

    Args:
        values: Values of shape ``(n,)``, finite, in the order in which they were measured.
        alpha: Error probability of each test, in (0, 0.5).
        seed: Seed of the permutations, ≥ 0: the same series is always cut the same way.

    Raises:
        ValueError: ``values`` is not one axis of finite numbers, or ``alpha`` is out of its range.
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be inside (0, 0.5), not {alpha}")
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"need one axis of finite numbers, not shape {array.shape}")
    return tuple(_cuts(array, 0, alpha, np.random.default_rng(seed)))


def _cuts(
    values: NDArray[np.float64], start: int, alpha: float, random: np.random.Generator
) -> Iterator[ChangePoint]:
    n = len(values)
    if n < 2 * LEAST or values.min() == values.max():
        return
    ranks = _ranks(values)
    statistics = _standardised_rank_sums(ranks[np.newaxis])[0]
    permuted = random.permuted(np.tile(ranks, (_PERMUTATIONS, 1)), axis=1)
    largest = _standardised_rank_sums(permuted).max(axis=1)
    # Sums of the same ranks in another order differ in the last digit.
    as_large = int((largest >= statistics.max() - 1e-9).sum())
    p = (1 + as_large) / (1 + _PERMUTATIONS)
    if p > alpha:
        return
    cut = LEAST + int(statistics.argmax())
    yield from _cuts(values[:cut], start, alpha, random)
    yield ChangePoint(start + cut, p)
    yield from _cuts(values[cut:], start + cut, alpha, random)


def _standardised_rank_sums(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Z of every cut with :data:`LEAST` values on each side: ``(rows, n)`` to ``(rows, n - 2·LEAST + 1)``."""
    n = ranks.shape[1]
    before = np.arange(LEAST, n - LEAST + 1)
    centred = ranks - (n + 1) / 2
    sums: NDArray[np.float64] = np.abs(centred.cumsum(axis=1)[:, before - 1])
    spread = (centred[0] ** 2).sum() / (n * (n - 1))
    standardised: NDArray[np.float64] = sums / np.sqrt(before * (n - before) * spread)
    return standardised


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks, from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    shared: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return shared
