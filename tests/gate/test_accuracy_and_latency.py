from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.core.json_text import json_text
from compress.errors import UsageError
from compress.gate import Check, GatePolicy, Verdict, judge_drop, judge_latency, overall
from compress.gate.accuracy import judge_accuracy, judge_churn
from compress.gate.verdict import finite, judge_bounds
from compress.metrics import load_metric
from compress.profiling.accuracy import drop_of
from compress.statistics.proportions import wilson
from compress.statistics.quantiles import median_log_ratio_bounds


def outcomes(lost: int, won: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    candidate, baseline = np.ones(n), np.ones(n)
    candidate[:lost] = 0
    baseline[lost : lost + won] = 0
    return candidate, baseline


def judged(lost: int, won: int, n: int) -> Check:
    candidate, baseline = outcomes(lost, won, n)
    return judge_drop(drop_of(candidate, baseline, load_metric("top-1")), n, lost, won, GatePolicy())


def test_no_disagreement_on_300_samples_passes_one_point() -> None:
    assert judged(0, 0, 300).verdict is Verdict.PASS


def test_few_samples_cannot_pass() -> None:
    assert judged(0, 0, 100).verdict is Verdict.INCONCLUSIVE


def test_loss_on_the_margin_is_undecided_and_a_large_one_fails() -> None:
    assert judged(110, 10, 10_000).verdict is Verdict.INCONCLUSIVE
    assert judged(300, 10, 10_000).verdict is Verdict.FAIL


def test_undecided_says_how_many_samples_would_decide() -> None:
    assert "samples would decide" in judged(5, 1, 800).detail


@given(st.integers(0, 50), st.integers(0, 50), st.integers(100, 5000))
def test_losing_more_never_helps(lost: int, won: int, n: int) -> None:
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    assert order.index(judged(lost + 1, won, n).verdict) >= order.index(judged(lost, won, n).verdict)


def rounds(shift: float, seed: int, spread: float = 0.02) -> Callable[[int], dict[int, float]]:
    random = np.random.default_rng(seed)
    return lambda number: {1: float(np.log1p(shift) + spread * random.standard_normal())}


def two_moods(shift: float, seed: int) -> Callable[[int], dict[int, float]]:
    """Sessions of which half are a quarter slower for as long as they live, either one."""
    random = np.random.default_rng(seed)
    return lambda number: {1: float(np.log1p(shift) + random.choice([-0.25, 0.25]) + random.normal(0, 0.02))}


@pytest.mark.parametrize("noise", [rounds, two_moods])
def test_false_alarms_of_the_latency_gate_stay_below_one_percent(noise: Callable[..., Any]) -> None:
    verdicts = [judge_latency(noise(0.0, seed), GatePolicy()).verdict for seed in range(1000)]
    # Half of the moody rounds are over the margin: there the error is what alpha allows at each of two sides.
    assert verdicts.count(Verdict.FAIL) <= (10 if noise is rounds else 50)


def test_ten_percent_is_found_and_says_so() -> None:
    verdicts = [judge_latency(rounds(0.1, seed, spread=0.04), GatePolicy()).verdict for seed in range(200)]
    assert verdicts.count(Verdict.FAIL) == 200


def test_five_percent_is_found_within_the_cap() -> None:
    verdicts = [judge_latency(rounds(0.05, seed, spread=0.03), GatePolicy()).verdict for seed in range(200)]
    assert verdicts.count(Verdict.FAIL) >= 190


def test_undecided_latency_says_how_many_rounds_would_decide() -> None:
    check = judge_latency(rounds(0.0, 1, spread=0.5), GatePolicy(looks=(20,)))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "rounds would decide" in check.detail
    needed = check.figures["rounds_to_decide"]
    assert isinstance(needed, int)
    assert needed > 20


def test_too_few_rounds_decide_nothing_and_are_told_in_json() -> None:
    check = judge_latency(rounds(-0.5, 0, spread=0.01), GatePolicy(looks=(3,)))
    assert check.verdict is Verdict.INCONCLUSIVE
    json.dumps(check.to_dict(), allow_nan=False)


def test_quiet_machine_decides_at_the_first_look() -> None:
    asked: list[int] = []

    def quiet(number: int) -> dict[int, float]:
        asked.append(number)
        return {1: -0.5}

    policy = GatePolicy()
    assert judge_latency(quiet, policy).verdict is Verdict.PASS
    assert asked == list(range(policy.looks[0]))


def test_noise_is_inconclusive_after_the_last_look() -> None:
    assert judge_latency(rounds(0.02, 0, spread=1.0), GatePolicy()).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        ([Verdict.PASS, Verdict.PASS], Verdict.PASS),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], Verdict.INCONCLUSIVE),
        ([Verdict.INCONCLUSIVE, Verdict.FAIL], Verdict.FAIL),
        ([], Verdict.INCONCLUSIVE),
    ],
)
def test_overall(verdicts: list[Verdict], wanted: Verdict) -> None:
    assert overall([Check("a check", verdict, "") for verdict in verdicts]) is wanted


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("accuracy", Verdict.INCONCLUSIVE),
        ("latency", Verdict.INCONCLUSIVE),
        ("size", Verdict.PASS),
        ("energy", Verdict.PASS),
    ],
)
def test_a_gate_passes_without_a_check_that_could_not_be_made_unless_it_is_essential(
    name: str, wanted: Verdict
) -> None:
    made = [
        Check("churn", Verdict.PASS, ""),
        Check("accuracy" if name == "latency" else "latency", Verdict.PASS, ""),
    ]
    assert overall([*made, Check(name, Verdict.SKIPPED, "")]) is wanted
    assert overall([*made, Check(name, Verdict.PASS, "")]) is Verdict.PASS
    assert overall([Check(name, Verdict.SKIPPED, "")]) is Verdict.INCONCLUSIVE
    assert overall([Check("churn", Verdict.FAIL, ""), Check(name, Verdict.SKIPPED, "")]) is Verdict.FAIL


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 1.0, Verdict.PASS),  # the margin is reached and not exceeded
        (0.0, 1.001, Verdict.INCONCLUSIVE),
        (1.0, 2.0, Verdict.INCONCLUSIVE),
        (1.001, 2.0, Verdict.FAIL),
        (float("-inf"), float("inf"), Verdict.INCONCLUSIVE),
        (float("nan"), float("nan"), Verdict.INCONCLUSIVE),
    ],
)
def test_bounds_are_held_to_the_margin(low: float, high: float, wanted: Verdict) -> None:
    assert judge_bounds(low, high, 1.0) is wanted


def test_what_json_has_no_number_for_is_none() -> None:
    assert (finite(1.5), finite(float("inf")), finite(float("nan"))) == (1.5, None, None)


def test_a_check_is_written_with_its_figures() -> None:
    check = Check("size", Verdict.FAIL, "it grew", {"growth_percent": 3.0})
    assert check.to_dict() == {
        "name": "size",
        "verdict": "fail",
        "detail": "it grew",
        "figures": {"growth_percent": 3.0},
    }


@pytest.mark.parametrize("margin", [-1.0, float("nan")])
def test_margins_are_numbers_of_zero_or_more(margin: float) -> None:
    with pytest.raises(UsageError, match="max_drop"):
        GatePolicy(max_drop_points=margin)


def test_what_is_lost_and_what_is_won_is_counted() -> None:
    candidate, baseline = outcomes(30, 10, 1000)
    check = judge_accuracy(
        candidate, baseline, load_metric("top-1"), GatePolicy(max_drop_points=5.0, alpha=0.1)
    )
    drop = drop_of(candidate, baseline, load_metric("top-1"), 0.1)
    assert (check.name, check.verdict) == ("accuracy", Verdict.PASS)
    assert check.detail.startswith("drop +2.00 points, between +1.")
    assert "(margin 5, 1000 samples, 4.00 % changed, McNemar p = 0.00222)" in check.detail
    assert check.figures == {
        "drop_points": pytest.approx(2.0),
        "low_points": drop.interval.low,
        "high_points": drop.interval.high,
        "margin_points": 5.0,
        "samples": 1000,
        "lost": 30,
        "won": 10,
        "mcnemar_p": pytest.approx(0.00222, rel=1e-2),
    }


def test_a_smaller_error_is_won() -> None:
    baseline = np.random.default_rng(0).random(100)
    candidate = baseline.copy()
    candidate[:7] += 0.001
    candidate[7:10] -= 0.001
    check = judge_accuracy(candidate, baseline, load_metric("mean-error"), GatePolicy())
    assert (check.figures["lost"], check.figures["won"]) == (7, 3)
    assert "of which no margin is a share" not in check.detail


def test_right_answers_that_the_baseline_never_gives_are_shares_all_the_same() -> None:
    check = judge_accuracy(np.zeros(400), np.zeros(400), load_metric("top-1"), GatePolicy())
    assert (check.verdict, "no margin" in check.detail) == (Verdict.PASS, False)


def test_few_samples_of_values_decide_nothing_and_say_so() -> None:
    values = np.full(29, 0.5)
    check = judge_accuracy(values, values, load_metric("mean-error"), GatePolicy())
    told = "29 samples, and mean-error is decided on 30 or more"
    assert check == Check("accuracy", Verdict.INCONCLUSIVE, told, {"samples": 29})


def test_without_labels_what_is_lost_is_of_the_baselines_own_scores() -> None:
    ones = np.ones(400)
    with_labels = judge_accuracy(ones, ones, load_metric("top-1"), GatePolicy())
    without = judge_accuracy(ones, ones, load_metric("agreement"), GatePolicy())
    assert with_labels.detail.startswith("drop +0.00 points")
    assert without.detail.startswith(
        "without labels, of its own scores the baseline loses: drop +0.00 points"
    )


def test_churn_counts_changes_in_either_direction() -> None:
    candidate, baseline = outcomes(30, 10, 1000)
    check = judge_churn(candidate, baseline, GatePolicy(max_churn_percent=6.0, alpha=0.05))
    low, high = (100 * bound for bound in wilson(40, 1000, 0.9))
    assert (check.name, check.verdict) == ("churn", Verdict.PASS)
    assert check.detail == f"4.00 % of 1000 samples changed, between {low:.2f} and {high:.2f} (margin 6)"
    assert check.figures == {
        "changed_percent": 4.0,
        "low_percent": low,
        "high_percent": high,
        "margin_percent": 6.0,
        "samples": 1000,
    }


def test_a_baseline_whose_error_is_0_is_told_and_is_strict_json() -> None:
    metric = load_metric("mean-error")
    baseline = np.zeros(400)
    candidate = np.r_[np.full(200, 0.1), np.zeros(200)]
    check = judge_accuracy(candidate, baseline, metric, GatePolicy())
    assert check.verdict is Verdict.FAIL
    assert "is 0, of which no margin is a share" in check.detail
    assert (
        json.loads(json_text(check.to_dict()), parse_constant=pytest.fail)["figures"]["drop_points"] is None
    )
    assert judge_accuracy(baseline, baseline, metric, GatePolicy()).verdict is Verdict.PASS


def test_a_bound_that_few_rounds_do_not_give_is_not_told_as_zero() -> None:
    check = judge_latency(lambda number: dict.fromkeys((1, 8), 0.001 * number), GatePolicy())
    assert check.verdict is Verdict.PASS
    assert "at most 1.00" in check.detail
    assert "0.000" not in check.detail


def test_each_round_is_measured_once_up_to_the_last_look() -> None:
    asked: list[int] = []

    def on_the_margin(number: int) -> dict[int, float]:
        asked.append(number)
        return {1: math.log(1.02) + (0.01 if number % 2 else -0.01)}

    check = judge_latency(on_the_margin, GatePolicy(looks=(7, 10, 16)))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert asked == list(range(16))


def one_look(log_ratios: np.ndarray, **margins: float) -> Check:
    policy = GatePolicy(looks=(len(log_ratios),), **margins)  # type: ignore[arg-type]
    return judge_latency(lambda number: {4: float(log_ratios[number])}, policy)


def test_a_latency_is_told_with_its_bounds() -> None:
    log_ratios = np.linspace(-0.1, -0.02, 12)
    low, high = np.exp(median_log_ratio_bounds(log_ratios, 0.05))
    check = one_look(log_ratios)
    ratio = math.exp(-0.06)
    assert (check.name, check.verdict) == ("latency", Verdict.PASS)
    assert check.detail == (
        f"batch 4: median ratio {ratio:.3f}, between {low:.3f} and {high:.3f} "
        "(margin 1.02, 12 rounds of both in turns, started anew for each)"
    )
    bounds = {"ratio": pytest.approx(ratio), "low": pytest.approx(low), "high": pytest.approx(high)}
    assert check.figures == {**bounds, "margin": 1.02, "rounds": 12, "batches": {"4": bounds}}


@pytest.mark.parametrize(("first", "last"), [(-0.08, 0.08), (-0.01, 0.08)], ids=["below", "above"])
def test_the_rounds_that_would_decide_follow_from_the_bounds_nearer_to_the_margin(
    first: float, last: float
) -> None:
    """Bounds get narrower with the square root of the rounds, until the margin is outside of them."""
    log_ratios = np.linspace(first, last, 12)
    median, margin = float(np.median(log_ratios)), math.log(1.02)
    bounds = median_log_ratio_bounds(log_ratios, 0.05)
    reach = bounds.upper - median if median < margin else median - bounds.lower
    needed = math.ceil(12 * (reach / (margin - median)) ** 2)
    check = one_look(log_ratios)
    assert (check.name, check.verdict) == ("latency", Verdict.INCONCLUSIVE)
    assert needed > 13
    assert check.figures["rounds_to_decide"] == needed
    assert check.figures["rounds"] == 12
    assert check.figures["margin"] == 1.02
    assert check.detail.startswith(f"batch 4: median ratio {math.exp(median):.3f}, between ")
    assert check.detail.endswith(
        f"12 rounds of both in turns, started anew for each); about {needed} rounds would decide"
    )


def test_a_ratio_on_the_margin_is_decided_by_no_number_of_rounds() -> None:
    check = one_look(np.full(13, 0.0) + np.linspace(-0.02, 0.02, 13), max_slowdown_percent=0.0)
    assert check.figures["rounds_to_decide"] is None
    assert check.detail.endswith("; the ratio lies on the margin")
