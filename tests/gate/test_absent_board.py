"""Two bundles for a board that is not here are not timed on this machine as if it were the board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compress
from compress.gate import GatePolicy, Verdict, gate, load_subject
from compress.gate.absent import judge_estimates
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe
from compress.records.profile import Profile
from tests.graphs import classifier, samples


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("absent")
    save_model(classifier(), place / "net.onnx")
    data = {"x": samples(60), "y": np.arange(60) % 4}
    out = place / "build"
    compress.optimize(
        place / "net.onnx",
        data=data,
        target="jetson",
        out=out,
        recipes=[Recipe("same")],
        seconds=0.01,
        max_drop=100,
    )
    return out


def profile_of(build: Path) -> Profile:
    profile = load_subject(build).profile
    assert profile is not None
    return profile


def test_its_time_is_not_measured_here_and_the_check_says_so(build: Path):
    checks = gate(build, build, policy=GatePolicy(checks=("accuracy", "latency", "p99", "memory", "energy")))
    by_name = {check.name: check for check in checks}
    for name in ("p99", "memory", "energy"):
        assert by_name[name].verdict is Verdict.SKIPPED
        assert "jetson" in by_name[name].detail
        assert "--host measures it there" in by_name[name].detail
    assert "estimated for jetson" in by_name["latency"].detail
    assert by_name["latency"].verdict is Verdict.INCONCLUSIVE  # the same estimate, inside its own interval
    assert by_name["latency"].figures["source"] == "estimated"


@pytest.mark.parametrize(("factor", "verdict"), [(0.1, Verdict.PASS), (10.0, Verdict.FAIL)])
def test_estimates_decide_where_their_intervals_do(build: Path, factor: float, verdict: Verdict):
    baseline = profile_of(build)
    latency = tuple(
        replace(
            each,
            p50_ms=each.p50_ms * factor,
            interval=replace(each.interval, low=each.interval.low * factor, high=each.interval.high * factor),
        )
        for each in baseline.latency
    )
    check = judge_estimates(replace(baseline, latency=latency), baseline, "jetson", GatePolicy())
    assert check.verdict is verdict
    assert f"batch 1: {factor:.3f}×" in check.detail


def test_a_bare_file_has_no_estimate(build: Path):
    check = judge_estimates(None, profile_of(build), "jetson", GatePolicy())
    assert check.verdict is Verdict.SKIPPED
