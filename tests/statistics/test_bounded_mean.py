from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.statistics import bounded_mean
from compress.statistics.bounded_mean import DRAWS, bounded_mean_bounds


@pytest.mark.parametrize("n", [12, 300, 3000])
def test_where_nothing_changed_the_bound_is_clopper_and_pearsons(n: int) -> None:
    low, high = bounded_mean_bounds(np.zeros(n), 0.0, 1.0)
    assert low == 0
    assert high == pytest.approx(1 - 0.05 ** (1 / n), rel=0.06)


def test_values_of_0_and_1_have_clopper_and_pearsons_bounds() -> None:
    """Printed tables: 3 of 40, one-sided 95 %: between 0.0205 and 0.1830."""
    low, high = bounded_mean_bounds(np.repeat([1.0, 0.0], [3, 37]), 0.0, 1.0)
    assert low == pytest.approx(0.0208, abs=0.002)
    assert high == pytest.approx(0.1830, abs=0.005)


def test_many_values_without_extremes_have_the_normal_bounds() -> None:
    values = np.random.default_rng(0).normal(0.1, 0.2, 20_000)
    low, high = bounded_mean_bounds(values, -1.0, 1.0)
    reach = 1.645 * 0.2 / math.sqrt(20_000)
    assert low == pytest.approx(values.mean() - reach, abs=reach / 5)
    assert high == pytest.approx(values.mean() + reach, abs=reach / 5)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40))
def test_the_bounds_hold_the_mean_and_stay_in_the_range(values: list[float]) -> None:
    low, high = bounded_mean_bounds(values, -1.0, 1.0)
    assert -1 <= low <= float(np.mean(values)) + 1e-12
    assert float(np.mean(values)) - 1e-12 <= high <= 1


def test_the_same_values_give_the_same_bounds() -> None:
    values = np.random.default_rng(1).random(50)
    assert bounded_mean_bounds(values, 0, 1) == bounded_mean_bounds(values, 0, 1)


@pytest.mark.parametrize("at_once", [1 << 22, 1000])
def test_it_is_the_formula_on_the_weights_of_its_seed(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(bounded_mean, "_VALUES_AT_ONCE", at_once)
    distinct, counts = np.array([-0.3, 0.1, 0.2, 0.7]), np.array([2, 5, 1, 4])
    random = np.random.default_rng(0)
    weights = random.standard_gamma(counts.astype(float), size=(DRAWS, 4))
    extra = random.standard_exponential(DRAWS)
    means = [(weights @ distinct + extra * end) / (weights.sum(axis=1) + extra) for end in (-1.0, 2.0)]
    expected = np.quantile(means[0], 0.05), np.quantile(means[1], 0.95)
    assert bounded_mean_bounds(np.repeat(distinct, counts), -1.0, 2.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("samples", "share", "loss"),
    [
        (48, 0.05, 1.0),  # where the bootstrap's bound missed in 31 of 100 runs
        (100, 0.02, 1.0),
        (300, 0.005, 1.0),
        (300, 0.005, 0.1),
        (100, 0.5, 0.01),
    ],
)
def test_the_upper_bound_covers_where_few_samples_change(samples: int, share: float, loss: float) -> None:
    random, missed = np.random.default_rng(0), 0
    for run in range(400):
        drops = np.where(random.random(samples) < share, loss, 0.0)
        missed += bounded_mean_bounds(drops, 0.0, 1.0, seed=run).upper < share * loss
    # 5 % of 400 are 20; 30 are two standard deviations more.
    assert missed <= 30


def test_what_cannot_be_bounded_is_refused() -> None:
    for values, lowest, highest, alpha in (
        ([], 0, 1, 0.05),
        ([math.nan], 0, 1, 0.05),
        ([0.5], 1, 0, 0.05),
        ([0.5], 0, 1, 0.5),
    ):
        with pytest.raises(ValueError, match=r"must|need"):
            bounded_mean_bounds(values, lowest, highest, alpha)
    assert DRAWS >= 1000
