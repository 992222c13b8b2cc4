from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.core.json_text import json_text
from compress.errors import UsageError
from compress.gate import Check, GatePolicy, Verdict, judge_drop, judge_latency, overall
from compress.gate.accuracy import judge_accuracy
from compress.metrics import load_metric
from compress.profiling.accuracy import drop_of


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


@pytest.mark.parametrize("margin", [-1.0, float("nan")])
def test_margins_are_numbers_of_zero_or_more(margin: float) -> None:
    with pytest.raises(UsageError, match="max_drop"):
        GatePolicy(max_drop_points=margin)


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
