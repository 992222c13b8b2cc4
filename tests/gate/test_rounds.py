"""A round of interleaved pairs, on threads that are bound alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compress.gate import GatePolicy, gate
from compress.gate.latency import take_round
from compress.profiling.pinning import bound, pinned_options, processors

LINUX = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no threads")


def test_a_round_has_an_even_number_of_pairs_and_enough_of_them() -> None:
    taken: list[int] = []
    take_round(lambda: taken.append(1), seconds=0, least=5)
    assert len(taken) == 6
    taken.clear()
    take_round(lambda: taken.append(1), seconds=0.005, least=2)
    assert len(taken) > 2
    assert len(taken) % 2 == 0


@LINUX
def test_a_thread_is_bound_inside_the_block_and_free_after_it() -> None:
    before = os.sched_getaffinity(0)
    with bound():
        assert os.sched_getaffinity(0) == {processors()[0]}
    assert os.sched_getaffinity(0) == before


@LINUX
def test_each_worker_has_a_processor_of_its_own_or_none_is_bound() -> None:
    available = processors()
    assert sorted(available) == sorted(os.sched_getaffinity(0))
    assert pinned_options({"intra_op_threads": 1}) == {"intra_op_threads": 1}
    too_many = {"intra_op_threads": len(available) + 1}
    assert pinned_options(too_many) == too_many
    if len(available) > 1:
        assert pinned_options({"intra_op_threads": 2})["affinity"] == [available[1]]


@LINUX
def test_the_gate_leaves_the_process_on_its_processors(room: Path) -> None:
    before = os.sched_getaffinity(0)
    (check,) = gate(
        room / "main.onnx", room / "main.onnx", policy=GatePolicy(checks=("latency",), looks=(2,))
    )
    assert "2 rounds" in check.detail
    assert os.sched_getaffinity(0) == before
