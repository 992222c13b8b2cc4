from __future__ import annotations

import os

import pytest

from compress.backends.onnxruntime import OnnxRuntimeOptions
from compress.backends.session_options import SessionOptions
from compress.profiling.conditions import conditions


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_affinity_is_that_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert conditions(SessionOptions())["affinity"] == [min(before)]
    finally:
        os.sched_setaffinity(0, before)


def test_options_of_the_session_are_told() -> None:
    found = conditions(OnnxRuntimeOptions(intra_op_threads=2, spinning=True, affinity=[1]))
    assert (found["intra_op_threads"], found["spinning"], found["thread_affinity"]) == (2, True, [1])
    assert conditions(SessionOptions())["thread_affinity"] is None


def test_load_is_recorded_where_the_system_tells() -> None:
    assert conditions(SessionOptions())["load_average"] >= 0
