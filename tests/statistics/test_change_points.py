from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.statistics import ChangePoint, change_points
from compress.statistics.change_points import LEAST, _ranks, _standardised_rank_sums

TRIALS = 300


def heavy_tailed(random: np.random.Generator, count: int) -> np.ndarray:
    """Latencies of a machine with 2.5 % noise, one in ten of them disturbed by up to half."""
    noise = np.exp(random.normal(0, 0.025, count))
    disturbed = random.random(count) < 0.1
    return noise * np.where(disturbed, 1 + 0.5 * random.random(count), 1)


def test_the_statistic_is_wilcoxons_rank_sum_standardised() -> None:
    values = np.array([3.0, 1.0, 2.0, 2.0, 9.0, 7.0, 7.0, 7.0, 8.0, 4.0, 5.0, 6.0])
    n, ranks = len(values), _ranks(values)
    assert ranks.tolist() == [4.0, 1.0, 2.5, 2.5, 12.0, 9.0, 9.0, 9.0, 11.0, 5.0, 6.0, 7.0]
    variance = sum((rank - ranks.mean()) ** 2 for rank in ranks) / (n * (n - 1))
    expected = [
        abs(ranks[:t].sum() - t * (n + 1) / 2) / math.sqrt(t * (n - t) * variance)
        for t in range(LEAST, n - LEAST + 1)
    ]
    (found,) = _standardised_rank_sums(ranks[np.newaxis])
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("count", [10, 20, 40])
@pytest.mark.parametrize("noise", ["normal", "heavy-tailed", "tied"])
def test_noise_is_marked_no_more_often_than_promised(noise: str, count: int) -> None:
    random = np.random.default_rng(count)
    draw = {
        "normal": lambda: random.normal(1, 0.03, count),
        "heavy-tailed": lambda: heavy_tailed(random, count),
        "tied": lambda: random.integers(0, 3, count).astype(float),
    }[noise]
    marked = sum(bool(change_points(draw(), alpha=0.05)) for _ in range(TRIALS))
    assert marked / TRIALS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)


def test_noise_is_marked_in_less_than_five_series_of_a_hundred_by_default() -> None:
    random = np.random.default_rng(0)
    marked = sum(bool(change_points(heavy_tailed(random, 20))) for _ in range(TRIALS))
    assert marked / TRIALS <= 0.03


@pytest.mark.parametrize("spread", [0.02, 0.03])
def test_a_step_of_ten_percent_is_found_where_it_is(spread: float) -> None:
    random = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        values = np.repeat([1.0, 1.1], 10) * np.exp(random.normal(0, spread, 20))
        changes = change_points(values)
        found += len(changes) == 1 and abs(changes[0].index - 10) <= 1
    assert found >= 90


def test_steps_up_and_down_are_both_found() -> None:
    random = np.random.default_rng(2)
    values = np.repeat([2.0, 2.6, 1.7], 12) * np.exp(random.normal(0, 0.02, 36))
    assert [change.index for change in change_points(values)] == [12, 24]


def test_one_outlier_is_no_level() -> None:
    values = np.exp(np.random.default_rng(3).normal(0, 0.02, 30))
    values[-1] = 50
    assert change_points(values) == ()


def test_five_new_values_are_enough_after_a_long_history() -> None:
    values = np.concatenate(
        [np.linspace(1, 1.02, 30)[np.random.default_rng(4).permutation(30)], [1.2, 1.21, 1.19, 1.23, 1.18]]
    )
    assert [change.index for change in change_points(values)] == [30]


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 50, [1.0] * 4 + [2.0] * 5])
def test_what_is_too_short_or_never_moves_has_no_change(values: list[float]) -> None:
    assert change_points(values) == ()


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(1, 100), min_size=12, max_size=24), scale=st.floats(0.5, 2))
def test_the_unit_does_not_matter_and_the_same_series_is_cut_the_same_way(
    values: list[float], scale: float
) -> None:
    levels = np.round(np.array(values))  # so that scaling makes and breaks no ties
    found = change_points(levels)
    assert found == change_points(levels) == change_points(levels * scale)
    assert all(isinstance(change, ChangePoint) and change.p <= 0.01 for change in found)
    assert all(5 <= change.index <= len(levels) - 5 for change in found)


@pytest.mark.parametrize("values", [[1.0, math.nan], [[1.0, 2.0]], [math.inf] * 20])
def test_what_is_not_one_axis_of_finite_numbers_is_refused(values: object) -> None:
    with pytest.raises(ValueError):
        change_points(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0])
def test_an_error_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        change_points([1.0, 2.0], alpha)
