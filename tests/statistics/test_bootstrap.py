"""Seeded bootstrap bounds of a mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.statistics import Bounds, bootstrap, mean_interval, paired_mean_difference_bounds


def test_it_agrees_with_resamples_taken_one_by_one() -> None:
    values = np.random.default_rng(0).exponential(size=80)
    random, t = np.random.default_rng(1), []
    for _ in range(20_000):
        drawn = random.choice(values, 80)
        t.append((drawn.mean() - values.mean()) / (drawn.std(ddof=1) / math.sqrt(80)))
    error = values.std(ddof=1) / math.sqrt(80)
    low, high = values.mean() - np.quantile(t, [0.975, 0.025]) * error
    ours = mean_interval(values)
    assert ours.lower == pytest.approx(low, abs=0.05 * (high - low))
    assert ours.upper == pytest.approx(high, abs=0.05 * (high - low))


@pytest.mark.parametrize("n", [40, 1500])  # the second in several blocks
def test_it_is_the_formula_on_the_resamples_of_its_seed(n: int) -> None:
    values = np.random.default_rng(0).exponential(size=n)
    drawn = values[np.random.default_rng(7).integers(0, n, size=(bootstrap.RESAMPLES, n))]
    t = (drawn.mean(axis=1) - values.mean()) / (drawn.std(axis=1, ddof=1) / math.sqrt(n))
    error = values.std(ddof=1) / math.sqrt(n)
    expected = values.mean() - np.quantile(t, [0.975, 0.025]) * error
    assert mean_interval(values, seed=7) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", range(30, 40))
@pytest.mark.parametrize("rare", [1.0, -1.0, 0.1])
def test_resamples_without_a_rare_value_leave_its_side_open(n: int, rare: float) -> None:
    """A third of them has equal values alone, which say nothing of how far the mean may lie."""
    with np.errstate(all="raise"):
        lower, upper = mean_interval([0.0] * (n - 1) + [rare])
    assert (lower, upper) == ((0.0, rare) if rare > 0 else (rare, 0.0))


def test_skewed_values_get_a_skewed_interval() -> None:
    values = np.random.default_rng(0).exponential(size=80) ** 2
    lower, upper = mean_interval(values)
    assert upper - values.mean() > 1.15 * (values.mean() - lower)


def test_the_same_seed_gives_the_same_bounds() -> None:
    values = np.random.default_rng(5).normal(size=50)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_bounds_do_not_depend_on_the_size_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=50)
    whole = mean_interval(values)
    monkeypatch.setattr(bootstrap, "_VALUES_AT_ONCE", 1000)
    assert mean_interval(values) == whole


def test_the_mean_of_skewed_values_is_covered() -> None:
    random, covered, trials = np.random.default_rng(6), 0, 300
    for trial in range(trials):
        lower, upper = mean_interval(random.exponential(size=60), seed=trial)
        covered += lower <= 1.0 <= upper
    assert covered / trials > 0.95 - 3 * math.sqrt(0.05 * 0.95 / trials) - 0.01


def test_pairs_take_out_what_the_samples_share() -> None:
    random = np.random.default_rng(7)
    difficulty = random.normal(scale=10, size=200)
    a, b = difficulty + 0.5 + random.normal(scale=0.5, size=200), difficulty
    lower, upper = paired_mean_difference_bounds(a, b)
    assert 0.3 < lower < 0.5 < upper < 0.7


def test_one_sided_bounds_are_those_of_the_two_sided_interval() -> None:
    values = np.random.default_rng(8).normal(size=40)
    one_sided = paired_mean_difference_bounds(values, np.zeros(40), alpha=0.05)
    assert one_sided == pytest.approx(mean_interval(values, 0.9))


@settings(max_examples=25)
@given(values=st.lists(st.floats(-1e150, 1e150, allow_subnormal=False), min_size=1, max_size=20))
def test_bounds_are_finite_and_inside_the_values(values: list[float]) -> None:
    lower, upper = mean_interval(values)
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= lower <= upper <= max(values) + slack


def test_equal_values_bound_themselves() -> None:
    assert mean_interval([0.25] * 7) == Bounds(0.25, 0.25)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf], [[1.0]]])
def test_what_has_no_mean_is_refused(values: object) -> None:
    with pytest.raises(ValueError):
        mean_interval(values)  # type: ignore[arg-type]


def test_pairs_need_equal_lengths_and_a_sensible_error() -> None:
    with pytest.raises(ValueError):
        paired_mean_difference_bounds([1.0, 2.0], [1.0])
    with pytest.raises(ValueError):
        paired_mean_difference_bounds([1.0, 2.0], [1.0, 3.0], alpha=0.5)
