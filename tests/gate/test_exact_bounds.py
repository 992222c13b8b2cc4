"""Figures of the checks, exactly: bounds under drift, samples that would decide, when rounds are given up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compress.gate import GatePolicy, Verdict, judge_slices
from compress.gate.accuracy import judge_accuracy, judge_drop, judge_outputs
from compress.gate.calibration import Confidences, _probabilities, _squares, judge_calibration
from compress.gate.latency import _Judged, _too_noisy, judge_recorded_latencies, judge_recorded_latency
from compress.gate.outcomes import Paired
from compress.metrics import load_metric
from compress.records.profile import Drop, Interval, Latency
from compress.statistics.paired import samples_to_decide

POLICY = GatePolicy()


def median(low: float, high: float) -> Latency:
    return Latency("measured", 1, (low + high) / 2, None, None, Interval(low, high, 0.95), 1.0, 100)


def test_drift_widens_both_ends_of_a_ratio_to_a_recorded_median() -> None:
    check = judge_recorded_latency(median(2.0, 3.0), median(4.0, 5.0), GatePolicy(max_drift_percent=25))
    assert check.figures["ratio"] == pytest.approx(2.5 / 4.5)
    assert check.figures["low"] == pytest.approx(2.0 / 5.0 / 1.25)
    assert check.figures["high"] == pytest.approx(3.0 / 4.0 * 1.25)
    assert (check.figures["drift"], check.figures["margin"]) == (1.25, pytest.approx(1.02))


def test_one_batch_size_is_told_by_itself_and_several_by_their_worst() -> None:
    fast, slow = (median(0.5, 0.51), median(0.99, 1.01)), (median(2.0, 2.1), median(0.99, 1.01))
    assert judge_recorded_latencies([fast], POLICY) == judge_recorded_latency(*fast, POLICY)
    check = judge_recorded_latencies([fast, slow], POLICY)
    assert check.verdict is Verdict.FAIL
    assert check.figures["ratio"] == pytest.approx(2.05)


def needed(points: float, low: float, high: float, churn: float, samples: int) -> object:
    drop = Drop(points, Interval(low, high, 0.9), churn)
    return judge_drop(drop, samples, 3, 2, POLICY).figures["samples_to_decide"]


@pytest.mark.parametrize("points", [0.6, 1.4])
def test_samples_that_would_decide_follow_from_the_distance_to_the_margin(points: float) -> None:
    wanted = samples_to_decide(0.02, 0.4 / 100, POLICY.alpha)
    assert wanted > 1001
    assert needed(points, points - 1, points + 1, 0.02, 1000) == pytest.approx(wanted, abs=1)


def test_as_many_samples_as_there_are_did_not_decide() -> None:
    wanted = samples_to_decide(0.0001, 0.005, POLICY.alpha)
    assert wanted < 5000
    assert needed(0.5, 0.0, 1.1, 0.0001, 5000) == 5001


def test_where_every_sample_changed_the_width_tells_how_many_would_decide() -> None:
    assert needed(0.5, -0.5, 1.5, 1.0, 100) == 400  # half the width is twice the distance to the margin
    assert needed(0.75, 0.0, 2.0, 1.0, 100) == 1600
    assert needed(0.0, -0.2, 1.1, 1.0, 100) == 101  # already narrower than the distance


@pytest.mark.parametrize(
    ("points", "low", "high"), [(1.0, 0.0, 2.0), (math.inf, -math.inf, math.inf), (0.5, -math.inf, math.inf)]
)
def test_no_number_of_samples_decides_what_lies_on_the_margin_or_has_no_bounds(
    points: float, low: float, high: float
) -> None:
    check = judge_drop(Drop(points, Interval(low, high, 0.9), 1.0), 100, 3, 2, POLICY)
    assert (check.verdict, check.figures["samples_to_decide"]) == (Verdict.INCONCLUSIVE, None)
    assert check.detail.endswith("; the drop lies on the margin")


def test_one_metric_is_told_by_itself_and_of_several_the_worst() -> None:
    metric = load_metric("top-1")
    right, wrong = np.ones(1000), np.concatenate([np.zeros(100), np.ones(900)])
    good, bad = Paired(right, right, metric), Paired(wrong, right, metric)
    assert judge_outputs([good], POLICY) == judge_accuracy(right, right, metric, POLICY)
    check = judge_outputs([good, bad], POLICY)
    assert (check.verdict, check.figures["lost"]) == (Verdict.FAIL, 100)
    assert "the worst of 2" in check.detail


@pytest.mark.parametrize(
    ("high", "rounds", "hopeless"),
    [
        (1.05, 16, False),  # at the last look the bounds would be narrow enough
        (1.30, 16, True),
        (1.30, 15, False),  # too early to tell
        (1.06, 64, True),  # nothing is left to narrow them
        (1.06, 16, False),
    ],
)
def test_rounds_are_given_up_where_the_bounds_stay_wide(high: float, rounds: int, hopeless: bool) -> None:
    policy = GatePolicy(looks=(16, 64))
    assert _too_noisy({1: _Judged(1.0, 0.9, high)}, 1.02, rounds, policy) is hopeless


def test_a_detail_names_slices_only_where_there_are_some() -> None:
    right, groups = np.ones(1000), np.repeat([0, 1], 500)
    check = judge_slices(right, right, load_metric("top-1"), groups, POLICY)
    assert check.verdict is Verdict.PASS
    assert check.detail == "worst of 2 slices: '0' with drop +0.00 points on 500 samples (margin 5)"


@pytest.mark.parametrize("scores", [[[2.0, 0.0]], [[1.5, -0.5]], [[-1.0, -2.0]]])
def test_scores_that_are_no_probabilities_go_through_a_softmax(scores: list[list[float]]) -> None:
    powers = np.exp(scores)
    np.testing.assert_allclose(_probabilities(np.array(scores)), powers / powers.sum(), rtol=1e-12)


def test_probabilities_are_taken_as_they_are() -> None:
    given = np.array([[0.7, 0.3], [0.0, 1.0]])
    np.testing.assert_array_equal(_probabilities(given), given)


def test_the_squared_calibration_error_is_without_its_bias_and_a_bin_of_one_sample_tells_nothing() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.55, 0.55, 0.15])
    right = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    wanted = 0.0
    for level in (0.95, 0.55):
        gaps = right[confidence == level] - level
        wanted += len(gaps) * (gaps.mean() ** 2 - gaps.var(ddof=1) / len(gaps)) / 6
    assert _squares(np.ones((1, 6)), Confidences(confidence, right))[0] == pytest.approx(wanted)


def test_the_bounds_of_a_rise_lie_on_both_sides_of_it_and_close_in() -> None:
    def sure(too_sure: float, samples: int) -> Confidences:
        random = np.random.default_rng(0)
        truth = random.uniform(0.5, 0.8, samples)
        return Confidences(truth + too_sure, (random.random(samples) < truth).astype(float))

    widths = []
    for samples in (2000, 8000):
        figures = judge_calibration(sure(0.10, samples), sure(0.04, samples), POLICY).figures
        keys = ("error_points", "baseline_error_points", "low_points", "high_points")
        error, before, low, high = (float(str(figures[key])) for key in keys)
        rise = error - before
        assert low < 6.0 < high
        assert rise - low > 0.3
        assert high - rise > 0.3
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.4)  # with the root of the samples
