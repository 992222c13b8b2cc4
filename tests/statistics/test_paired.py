"""Bounds of an accuracy drop that is measured on the same samples."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.statistics import Bounds, mcnemar_exact, samples_to_decide, tango_bounds

Z95 = NormalDist().inv_cdf(0.95)


def _score_by_search(b: int, c: int, n: int, theta: float) -> float:
    """Tango's statistic with the restricted likelihood maximised by golden-section search."""

    def log_likelihood(q: float) -> float:
        terms = ((b, q + theta), (c, q), (n - b - c, 1 - 2 * q - theta))
        return sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    low, high, golden = max(0.0, -theta), (1 - theta) / 2, (math.sqrt(5) - 1) / 2
    for _ in range(100):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if log_likelihood(left) < log_likelihood(right):
            low = left
        else:
            high = right
    q = (low + high) / 2
    return (b - c - n * theta) / math.sqrt(n * (2 * q + theta - theta**2))


@st.composite
def _counts(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(2, 500))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


@settings(max_examples=60)
@given(counts=_counts())
def test_the_bounds_are_where_the_restricted_score_is_z(counts: tuple[int, int, int]) -> None:
    b, c, n = counts
    lower, upper = tango_bounds(b, c, n)
    assert -1.0 <= lower <= (b - c) / n <= upper <= 1.0
    if upper < 0.999:
        assert _score_by_search(b, c, n, upper) == pytest.approx(-Z95, abs=1e-4)
    if lower > -0.999:
        assert _score_by_search(b, c, n, lower) == pytest.approx(Z95, abs=1e-4)


@given(counts=_counts(), alpha=st.floats(0.005, 0.4))
def test_swapping_the_networks_mirrors_the_bounds(counts: tuple[int, int, int], alpha: float) -> None:
    b, c, n = counts
    lower, upper = tango_bounds(b, c, n, alpha)
    assert tango_bounds(c, b, n, alpha) == Bounds(-upper, -lower)


@given(counts=_counts())
def test_a_smaller_error_gives_wider_bounds(counts: tuple[int, int, int]) -> None:
    wide, narrow = tango_bounds(*counts, alpha=0.01), tango_bounds(*counts, alpha=0.1)
    assert wide.lower <= narrow.lower
    assert narrow.upper <= wide.upper


def test_without_a_disagreement_the_bound_is_closed() -> None:
    assert tango_bounds(0, 0, 300).upper == pytest.approx(Z95**2 / (300 + Z95**2), rel=1e-9)
    assert tango_bounds(0, 0, 300).upper < 0.009


def test_everything_lost_is_bounded_by_one() -> None:
    assert tango_bounds(20, 0, 20).upper == 1.0
    assert tango_bounds(0, 20, 20).lower == -1.0


@pytest.mark.parametrize("n, psi", [(60, 0.2), (300, 0.06), (1500, 0.05)])
def test_a_true_drop_at_the_margin_passes_in_at_most_five_percent(n: int, psi: float) -> None:
    margin, trials = 0.02, 20_000
    bounds = cache(tango_bounds)
    b_share = (psi + margin) / 2
    draws = np.random.default_rng(1).multinomial(n, [b_share, psi - b_share, 1 - psi], size=trials)
    passes = sum(bounds(int(b), int(c), n).upper < margin for b, c, _ in draws)
    fails = sum(bounds(int(b), int(c), n).lower > margin for b, c, _ in draws)
    # 5 % and what Tango reports beyond it in small samples, and three standard errors of this simulation.
    assert passes / trials < 0.058
    assert fails / trials < 0.058
    assert passes / trials > 0.02 or n < 100  # the bound decides; it does not hide


@pytest.mark.parametrize("b, c", [(0, 0), (3, 3), (1, 0), (10, 2), (2, 10), (40, 25), (900, 1010)])
def test_mcnemar_agrees_with_scipy(b: int, c: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("psi, margin, published", [(0.02, 0.01, 1238), (0.1, 0.01, 6186), (0.05, 0.02, 774)])
def test_samples_to_decide_against_published_figures(psi: float, margin: float, published: int) -> None:
    assert samples_to_decide(psi, margin) == pytest.approx(published, rel=2e-3)


@given(margin=st.floats(0.002, 0.5))
def test_so_many_samples_and_no_fewer_decide_when_nothing_disagrees(margin: float) -> None:
    n = samples_to_decide(0.0, margin)
    assert tango_bounds(0, 0, n).upper < margin
    assert n == 1 or tango_bounds(0, 0, n - 1).upper >= margin - 1e-12


def test_the_promised_power_is_reached() -> None:
    psi, margin, trials = 0.05, 0.02, 4000
    n = samples_to_decide(psi, margin)
    draws = np.random.default_rng(2).multinomial(n, [psi / 2, psi / 2, 1 - psi], size=trials)
    bounds = cache(tango_bounds)
    passes = sum(bounds(int(b), int(c), n).upper < margin for b, c, _ in draws)
    assert passes / trials == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("b, c, n", [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(b: int, c: int, n: int) -> None:
    with pytest.raises(ValueError):
        tango_bounds(b, c, n)


@pytest.mark.parametrize("alpha", [0.0, 0.5, -0.1])
def test_an_impossible_error_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError):
        tango_bounds(1, 2, 10, alpha)


@pytest.mark.parametrize(
    "arguments", [(-0.1, 0.01), (1.1, 0.01), (0.1, 0.0), (0.1, 0.01, 0.5), (0.1, 0.01, 0.05, 1.0)]
)
def test_impossible_plans_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        samples_to_decide(*arguments)
