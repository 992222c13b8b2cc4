"""pearson and spearman, held against SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics import load_metric
from tests.metrics.left_out import by_leaving_out, figure, rows_of

Array = np.ndarray[Any, Any]
PEARSON, SPEARMAN = load_metric("pearson"), load_metric("spearman")
RANDOM = np.random.default_rng(0)


def _pair(n: int = 40, rounded: bool = False) -> tuple[Array, Array]:
    target = RANDOM.normal(size=n)
    output = target + RANDOM.normal(size=n) + 100
    return (np.round(output), np.round(target)) if rounded else (output, target)


@pytest.mark.parametrize("rounded", [False, True])
def test_scipy_says_the_same(rounded: bool) -> None:
    output, target = _pair(rounded=rounded)
    for metric, theirs in ((PEARSON, scipy.stats.pearsonr), (SPEARMAN, scipy.stats.spearmanr)):
        for shape in ((-1,), (-1, 1), (-1, 1, 1)):
            ours = figure(metric, rows_of(metric, output.reshape(shape), target))
            assert ours == pytest.approx(theirs(output, target).statistic)


@given(
    pair=arrays.arrays(
        np.float64, st.tuples(st.just(2), st.integers(5, 12)), elements=st.integers(-9, 9).map(float)
    )
)
def test_pearson_leaves_each_sample_out(pair: Array) -> None:
    for values in pair:  # without any one sample, both still differ
        assume(min(np.ptp(np.delete(values, i)) for i in range(len(values))) > 0)
    rows = rows_of(PEARSON, pair[0], pair[1])
    assert np.allclose(PEARSON.values(rows), by_leaving_out(PEARSON, rows))


@pytest.mark.parametrize("rounded", [False, True])
def test_spearmans_influence_is_the_derivative_by_the_weight(rounded: bool) -> None:
    """Each sample 60 times, then one of the 60 less: that is a small change of its weight."""
    output, target = _pair(20, rounded)
    rows, copies = rows_of(SPEARMAN, output, target), 60
    values, whole = SPEARMAN.values(rows), figure(SPEARMAN, rows)
    for sample in range(20):
        many = np.repeat(np.arange(20), copies)
        fewer = np.delete(many, np.argmax(many == sample))
        slope = (whole - figure(SPEARMAN, [rows[i] for i in fewer])) * copies
        assert values[sample] - whole == pytest.approx(20 * slope, rel=0.15, abs=0.02)


def test_outputs_that_are_all_equal_follow_nothing() -> None:
    for metric in (PEARSON, SPEARMAN):
        assert metric.values(rows_of(metric, np.full(6, 2.0), np.arange(6.0))).tolist() == [0.0] * 6
        with pytest.raises(MetricError, match="targets that differ"):
            metric.values(rows_of(metric, np.arange(6.0), np.zeros(6)))


def test_one_sample_that_alone_differs_is_no_failure() -> None:
    rows = rows_of(PEARSON, np.array([0.0, 0, 0, 5]), np.array([0.0, 1, 2, 3]))
    assert np.isfinite(PEARSON.values(rows)).all()
    assert np.isfinite(PEARSON.values(rows[2:])).all()


def test_one_number_a_sample_is_wanted() -> None:
    assert PEARSON.fitted([TensorSpec("age", "float32", ("batch", 1))]).outputs == ("age",)
    for output, target in ((np.zeros((4, 2)), np.zeros(4)), (np.zeros(4), np.zeros((4, 3)))):
        with pytest.raises(MetricError, match="one number a sample"):
            rows_of(PEARSON, output, target, batch=4)
    with pytest.raises(MetricError, match="a finite pearson"):
        rows_of(PEARSON, np.array([0, np.nan]), np.zeros(2), batch=2)
