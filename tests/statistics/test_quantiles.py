"""Intervals of quantiles: exact where they decide, interpolated where they are printed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.statistics import Bounds, median_log_ratio_bounds, quantile_interval


def test_the_tabulated_ranks_of_a_median() -> None:
    # Order-statistic intervals of a median at 95 %: ranks 2 and 9 of 10, 6 and 15 of 20, 40 and 61 of 100.
    for n, lower, upper in ((10, 2, 9), (20, 6, 15), (100, 40, 61)):
        values = np.arange(1, n + 1)
        assert median_log_ratio_bounds(values, 0.025) == Bounds(lower, upper)
        printed = quantile_interval(values, 0.5)
        assert printed is not None
        assert lower < printed.lower < lower + 1
        assert upper - 1 < printed.upper < upper


def test_interpolation_is_hettmanspergers_and_sheathers_for_a_median() -> None:
    n, r, confidence = 20, 6, 0.975  # P(K < 6) = 0.0207 and P(K < 7) = 0.0577 for K ~ Binomial(20, 1/2)
    mass = [math.comb(n, k) / 2**n for k in range(n + 1)]
    inner, outer = 1 - sum(mass[: r + 1]), 1 - sum(mass[:r])
    i = (outer - confidence) / (outer - inner)
    share = (n - r) * i / (r + (n - 2 * r) * i)
    printed = quantile_interval(np.arange(1, n + 1), 0.5, 0.95)
    assert printed is not None
    assert printed == pytest.approx((r + share, n + 1 - r - share))


def test_order_does_not_matter() -> None:
    values = np.random.default_rng(0).normal(size=200)
    assert quantile_interval(values, 0.9) == quantile_interval(np.sort(values), 0.9)


@pytest.mark.parametrize("q, needed", [(0.5, 6), (0.9, 36), (0.99, 368)])
def test_too_few_values_give_none(q: float, needed: int) -> None:
    # Both q**n and (1 - q)**n must be at most 2.5 %.
    assert quantile_interval(np.arange(needed - 1), q) is None
    assert quantile_interval(np.arange(needed), q) is not None
    assert quantile_interval([], q) is None


def test_two_values_bound_a_median_at_a_low_level() -> None:
    """P(K < 1) = 0.25 and P(K < 2) = 0.75: the upper bound is between the two up to a confidence of 0.75."""
    printed = quantile_interval([1.0, 2.0], 0.5, level=0.4)
    assert printed is not None
    assert 1.0 < printed.lower < printed.upper < 2.0
    assert quantile_interval([1.0, 2.0], 0.5, level=0.6) is None
    assert quantile_interval([1.0], 0.5, level=0.1) is None


@pytest.mark.parametrize("q, n", [(0.5, 20), (0.5, 101), (0.9, 64), (0.99, 662)])
def test_the_true_quantile_is_covered_as_often_as_promised(q: float, n: int) -> None:
    trials, level = 3000, 0.95
    true = -math.log(1 - q)  # of an exponential distribution, far from symmetric
    samples = np.random.default_rng(3).exponential(size=(trials, n))
    intervals = np.array([quantile_interval(row, q, level) for row in samples])
    covered = np.mean((intervals[:, 0] <= true) & (true <= intervals[:, 1]))
    assert abs(covered - level) <= 3 * math.sqrt(level * (1 - level) / trials)


@pytest.mark.parametrize("n", [5, 20, 51, 200])
def test_each_bound_of_the_median_errs_at_most_alpha(n: int) -> None:
    trials, alpha = 4000, 0.05
    samples = np.random.default_rng(4).standard_cauchy(size=(trials, n))
    bounds = np.array([median_log_ratio_bounds(row, alpha) for row in samples])
    allowed = alpha + 3 * math.sqrt(alpha * (1 - alpha) / trials)
    assert np.mean(bounds[:, 0] > 0) <= allowed
    assert np.mean(bounds[:, 1] < 0) <= allowed


def test_the_bounds_of_a_median_need_five_pairs() -> None:
    assert median_log_ratio_bounds([1.0, 2.0, 3.0, 4.0]) == Bounds(-math.inf, math.inf)
    assert median_log_ratio_bounds([1.0, 2.0, 3.0, 4.0, 5.0]) == Bounds(1.0, 5.0)
    assert median_log_ratio_bounds([]) == Bounds(-math.inf, math.inf)


@given(values=st.lists(st.floats(-10, 10), min_size=5, max_size=60))
def test_mirrored_ratios_mirror_the_bounds(values: list[float]) -> None:
    lower, upper = median_log_ratio_bounds(values)
    assert lower <= np.median(values) <= upper
    assert median_log_ratio_bounds([-value for value in values]) == Bounds(-upper, -lower)


@pytest.mark.parametrize("q", [0.5, 0.9])
@given(steps=st.lists(st.integers(8700, 8710), min_size=64, max_size=64))
def test_the_quantile_of_a_sample_lies_in_its_interval_where_times_repeat(q: float, steps: list[int]) -> None:
    # Times of a clock with steps of 1 ns, in milliseconds: a weighted sum of two equal ones can be 1 ulp below both.
    times = np.array(steps) * 1e-9 * 1e3
    interval = quantile_interval(times, q)
    assert interval is not None
    assert interval.lower <= np.quantile(times, q) <= interval.upper


@pytest.mark.parametrize("count", range(64, 96))
def test_equal_values_are_their_own_interval(count: int) -> None:
    value = 8703 * 1e-9 * 1e3
    assert quantile_interval([value] * count, 0.9) == Bounds(value, value)


@pytest.mark.parametrize("values", [[1.0, math.nan], [[1.0, 2.0]]])
def test_what_is_not_one_axis_of_numbers_is_refused(values: object) -> None:
    with pytest.raises(ValueError):
        quantile_interval(values, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("q, level", [(0.0, 0.95), (1.0, 0.95), (0.5, 0.0), (0.5, 1.0)])
def test_what_is_out_of_range_is_refused(q: float, level: float) -> None:
    with pytest.raises(ValueError):
        quantile_interval(np.arange(100), q, level)
    with pytest.raises(ValueError):
        median_log_ratio_bounds(np.arange(100), 0.5)
