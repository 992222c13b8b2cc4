"""Latency in the gate: what each round says of each batch size, and what they say together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.gate import GatePolicy, gate
from compress.gate.latency import judge_latency
from compress.gate.verdict import Check, Verdict

POLICY = GatePolicy(max_slowdown_percent=2.0)


def judged(**by_batch: tuple[float, float]) -> Check:
    """The verdict over rounds whose ratios are drawn around a centre with a spread, by batch size."""
    random = np.random.default_rng(0)
    return judge_latency(
        lambda number: {
            int(batch.removeprefix("b")): float(random.normal(np.log(centre), spread))
            for batch, (centre, spread) in by_batch.items()
        },
        POLICY,
    )


def test_every_batch_size_is_inside_the_margin_or_the_gate_does_not_pass() -> None:
    assert judged(b1=(1.0, 0.002), b32=(1.0, 0.002)).verdict is Verdict.PASS
    found = judged(b1=(0.8, 0.002), b32=(5.8, 0.002))
    assert found.verdict is Verdict.FAIL
    assert "batch 32: median ratio 5.79" in found.detail
    assert found.figures["ratio"] == pytest.approx(5.8, rel=0.01)
    assert list(found.figures["batches"]) == ["1", "32"]  # type: ignore[call-overload]


def test_a_batch_size_that_stays_undecided_leaves_the_gate_undecided() -> None:
    found = judged(b1=(0.8, 0.002), b32=(1.02, 0.05))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.figures["rounds"] == POLICY.looks[-1]


def test_a_machine_too_noisy_for_the_margin_is_given_up_early() -> None:
    found = judged(b1=(1.0, 0.002), b32=(1.03, 0.3))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.figures["rounds"] == 16
    assert "rounds would decide" in found.detail


def test_more_batch_sizes_raise_no_more_false_alarms() -> None:
    random, failed = np.random.default_rng(1), 0
    for _ in range(400):
        found = judge_latency(
            lambda number: {batch: float(random.normal(np.log(1.02), 0.02)) for batch in (1, 2, 4, 8)}, POLICY
        )
        failed += found.verdict is Verdict.FAIL
    assert failed / 400 <= POLICY.alpha


def test_the_gate_times_every_batch_size_of_two_files(room: Path) -> None:
    (check,) = gate(
        room / "main.onnx", room / "main.onnx", policy=GatePolicy(checks=("latency",), looks=(2,))
    )
    assert "2 rounds" in check.detail
    assert "batch 1:" in check.detail
    assert "batch 32:" in check.detail
