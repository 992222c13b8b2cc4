"""A spell in which one session is slow fools a round, and not the gate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from compress.gate import Check, GatePolicy, Verdict, judge_latency, judge_rounds
from compress.gate.latency import long_pairs

PASS, FAIL, OPEN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("rounds", "verdict", "taken"),
    [
        ([PASS, PASS, PASS], PASS, 3),
        ([FAIL, FAIL, FAIL], FAIL, 3),
        ([FAIL, PASS, PASS, PASS], PASS, 4),
        ([FAIL, PASS, FAIL, PASS, FAIL], FAIL, 5),
        ([OPEN, OPEN, OPEN], OPEN, 3),
        ([FAIL, OPEN, PASS, FAIL, PASS], OPEN, 5),
    ],
)
def test_three_rounds_of_five_have_to_agree(rounds: list[Verdict], verdict: Verdict, taken: int) -> None:
    left = iter(rounds)
    check = judge_rounds(lambda: Check("latency", next(left), "a ratio"), pause_s=0)
    assert check.verdict is verdict
    assert f"of {taken} rounds" in check.detail
    assert not list(left)


def test_short_pairs_are_repeated_and_long_ones_are_not() -> None:
    values = iter(range(10_000_000))
    short = long_pairs(lambda: float(next(values)), 3, least_s=0.002)
    assert len(short) == 3
    assert short[2] > short[1] > short[0] > 1  # medians of many values each
    single = iter([1.0, 5.0])
    np.testing.assert_array_equal(long_pairs(lambda: next(single), 2, least_s=0.0), [1, 5])


def spells(shift: float, random: np.random.Generator) -> Callable[[], Check]:
    """Rounds of which one in ten has a session that is a fifth slower throughout, either one."""

    def one_round() -> Check:
        spell = random.choice([0.0, 0.2, -0.2], p=[0.9, 0.05, 0.05])
        return judge_latency(
            lambda count: np.log1p(shift) + spell + 0.05 * random.standard_normal(count), GatePolicy()
        )

    return one_round


@pytest.mark.parametrize(("shift", "wrong"), [(0.0, FAIL), (0.1, PASS)])
def test_spells_hardly_ever_turn_the_verdict(shift: float, wrong: Verdict) -> None:
    random = np.random.default_rng(0)
    verdicts = [judge_rounds(spells(shift, random), pause_s=0).verdict for _ in range(400)]
    assert verdicts.count(wrong) <= 4
    right = FAIL if wrong is PASS else PASS
    assert verdicts.count(right) >= 390
