"""Churn, calibration, p99, recorded medians, size, memory, energy and coverage; and what they say together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress.gate import Check, GatePolicy, Verdict, judge_churn, judge_p99, overall
from compress.gate.accuracy import judge_accuracy
from compress.gate.calibration import Confidences, expected_calibration_error, judge_calibration
from compress.gate.cost import judge_coverage, judge_energy, judge_memory, judge_size
from compress.gate.latency import judge_recorded_latency
from compress.metrics import load_metric
from compress.profiling.latency import LEAST_CALLS
from compress.records.coverage import Coverage
from compress.records.profile import Interval, Latency

POLICY = GatePolicy()


@pytest.mark.parametrize(
    ("changed", "samples", "verdict"),
    [
        (20, 1000, Verdict.PASS),
        (45, 1000, Verdict.INCONCLUSIVE),
        (80, 1000, Verdict.FAIL),
        (0, 20, Verdict.INCONCLUSIVE),
    ],
)
def test_churn_is_decided_by_its_bounds(changed: int, samples: int, verdict: Verdict) -> None:
    candidate, baseline = np.ones(samples), np.ones(samples)
    candidate[: changed // 2] = 0
    baseline[changed // 2 : changed] = 0
    assert judge_churn(candidate, baseline, POLICY).verdict is verdict


def test_accuracy_follows_the_policys_error() -> None:
    candidate, baseline = np.ones(1500), np.ones(1500)
    candidate[:8] = 0
    verdicts = [
        judge_accuracy(candidate, baseline, load_metric("top-1"), GatePolicy(alpha=alpha)).verdict
        for alpha in (0.05, 0.001)
    ]
    assert verdicts == [Verdict.PASS, Verdict.INCONCLUSIVE]


def test_false_passes_of_accuracy_at_the_margin_are_five_percent() -> None:
    """10,000 evaluations whose true drop is the margin; Tango's bound holds its level."""
    from compress.statistics.paired import tango_bounds

    random = np.random.default_rng(0)
    samples, margin = 2000, 0.01
    drawn = random.multinomial(samples, [0.025, 0.015, 0.96], size=10_000)
    pairs, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    passes = [tango_bounds(int(b), int(c), samples).upper <= margin for b, c in pairs]
    assert counts[passes].sum() / 10_000 <= 0.055


def test_few_equal_numbers_are_not_proof() -> None:
    check = judge_accuracy(np.full(5, 0.5), np.full(5, 0.5), load_metric("mean-error"), POLICY)
    assert check.verdict is Verdict.INCONCLUSIVE


def test_undecided_numbers_say_how_many_would_decide() -> None:
    random = np.random.default_rng(0)
    baseline = random.uniform(0, 1, 100)
    check = judge_accuracy(baseline + random.normal(0, 0.3, 100), baseline, load_metric("mean-error"), POLICY)
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "samples would decide" in check.detail


def test_calibration_error_of_a_known_case() -> None:
    # Half at 0.95 and all right, half at 0.55 and half right: (0.05 + 0.05) / 2.
    confidence = np.repeat([0.95, 0.55], 100)
    right = np.concatenate([np.ones(100), np.tile([0.0, 1.0], 50)])
    assert expected_calibration_error(Confidences(confidence, right)) == pytest.approx(0.05)


def sure(samples: int, sharpness: float, seed: int = 0) -> Confidences:
    """Confidences that are ``sharpness`` points too high; the same samples are right whatever it is."""
    random = np.random.default_rng(seed)
    truth = random.uniform(0.5, 0.85, samples)
    right = (random.random(samples) < truth).astype(float)
    return Confidences(truth + sharpness / 100, right)


@pytest.mark.parametrize(
    ("sharpness", "samples", "verdict"),
    [(0.0, 2000, Verdict.PASS), (10.0, 2000, Verdict.FAIL), (0.0, 20, Verdict.INCONCLUSIVE)],
)
def test_calibration_is_decided_by_its_bounds(sharpness: float, samples: int, verdict: Verdict) -> None:
    assert judge_calibration(sure(samples, sharpness), sure(samples, 0.0), POLICY).verdict is verdict


def times(scale: float, seed: int, count: int = 2 * LEAST_CALLS[99]) -> np.ndarray:
    return scale * np.random.default_rng(seed).uniform(0.98, 1.02, count)


def test_p99_needs_its_pairs_and_is_decided_by_its_bounds() -> None:
    assert judge_p99(times(2, 0, 661), times(1, 1, 661), POLICY).verdict is Verdict.SKIPPED
    assert judge_p99(times(1, 0), times(1, 1), POLICY).verdict is Verdict.PASS
    assert judge_p99(times(1.2, 0), times(1, 1), POLICY).verdict is Verdict.FAIL
    assert judge_p99(times(1.1, 0), times(1, 1), POLICY).verdict is Verdict.INCONCLUSIVE
    assert "bound no p99" in judge_p99(times(1, 0), times(1, 1), GatePolicy(alpha=1e-6)).detail


def median(low: float, high: float) -> Latency:
    middle = (low + high) / 2
    return Latency("measured", 1, middle, None, None, Interval(low, high, 0.95), 1.0, 100)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (median(0.90, 0.95), Verdict.PASS),
        (median(1.00, 1.03), Verdict.INCONCLUSIVE),
        (median(1.10, 1.12), Verdict.FAIL),
        (median(float("-inf"), float("inf")), Verdict.INCONCLUSIVE),
    ],
)
def test_recorded_medians_are_compared_by_the_far_ends(now: Latency, verdict: Verdict) -> None:
    policy = GatePolicy(max_drift_percent=0)
    assert judge_recorded_latency(now, median(0.99, 1.01), policy).verdict is verdict


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (median(0.65, 0.66), Verdict.PASS),
        (median(0.90, 0.95), Verdict.INCONCLUSIVE),  # a machine that became faster
        (median(1.18, 1.19), Verdict.INCONCLUSIVE),  # a machine that became slower
        (median(1.60, 1.62), Verdict.FAIL),
    ],
)
def test_what_the_machine_may_have_drifted_decides_nothing(now: Latency, verdict: Verdict) -> None:
    check = judge_recorded_latency(now, median(0.99, 1.01), POLICY)
    assert check.verdict is verdict
    assert ("both are timed in pairs" in check.detail) == (verdict is Verdict.INCONCLUSIVE)


def test_recorded_intervals_decide_nothing_beyond_their_level() -> None:
    check = judge_recorded_latency(median(2.0, 2.1), median(0.99, 1.01), GatePolicy(alpha=0.01))
    assert check.verdict is Verdict.INCONCLUSIVE


def test_size_is_exact() -> None:
    assert judge_size(1050, 1000, POLICY).verdict is Verdict.PASS
    assert judge_size(1051, 1000, POLICY).verdict is Verdict.FAIL


def test_memory_is_bounded_by_its_extremes() -> None:
    assert judge_memory([10.0, 10.5], [10.0, 10.2], POLICY).verdict is Verdict.PASS
    assert judge_memory([10.0, 12.0], [10.0, 10.2], POLICY).verdict is Verdict.INCONCLUSIVE
    assert judge_memory([12.0, 13.0], [10.0, 10.2], POLICY).verdict is Verdict.FAIL


def test_memory_that_grew_from_nothing_is_json() -> None:
    assert judge_memory([1.0], [0.0], POLICY).figures["high_percent"] is None


def test_energy_is_bounded_by_its_extremes() -> None:
    assert judge_energy([1.0, 1.02], [1.0, 1.01], POLICY).verdict is Verdict.PASS
    assert judge_energy([1.0, 1.1], [1.0, 1.01], POLICY).verdict is Verdict.INCONCLUSIVE
    assert judge_energy([1.1, 1.2], [1.0, 1.01], POLICY).verdict is Verdict.FAIL


def test_int8_kernels_that_fell_back_to_float_fail() -> None:
    whole, half = Coverage(int8_mac_share=0.98), Coverage(int8_mac_share=0.5)
    assert judge_coverage(half, whole, POLICY).verdict is Verdict.FAIL
    assert judge_coverage(whole, half, POLICY).verdict is Verdict.PASS
    assert judge_coverage(None, whole, POLICY).verdict is Verdict.SKIPPED
    assert judge_coverage(whole, Coverage(), POLICY).verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    ("skipped", "verdict"),
    [
        ("accuracy", Verdict.INCONCLUSIVE),
        ("latency", Verdict.INCONCLUSIVE),
        ("slices", Verdict.PASS),
        ("energy", Verdict.PASS),
    ],
)
def test_skipped_checks_turn_nothing_to_pass(skipped: str, verdict: Verdict) -> None:
    check = Check(skipped, Verdict.SKIPPED, "")
    assert overall([Check("size", Verdict.PASS, ""), check]) is verdict
    assert overall([check]) is Verdict.INCONCLUSIVE
    assert overall([replace(check, verdict=Verdict.FAIL), check]) is Verdict.FAIL
