"""Two bundles for a board that is not here are not timed on this machine as if it were the board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compress
from compress.gate import GatePolicy, Subject, Verdict, gate, load_subject
from compress.gate.absent import AbsentTarget, absent_target, judge_estimates, names_board
from compress.machine.machine import Cpu, cpu, fingerprint
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe
from compress.records.profile import Profile
from tests.graphs import classifier, samples

JETSON = AbsentTarget("jetson", engines=True)
PI = Cpu("Raspberry Pi 5 Model B Rev 1.0", "aarch64", 4, ("asimd", "asimdhp", "asimddp"), 4.0, 2.4, None)
OTHER = replace(PI, model="Some Board")


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
    check = judge_estimates(replace(baseline, latency=latency), baseline, JETSON, GatePolicy())
    assert check.verdict is verdict
    assert f"batch 1: {factor:.3f}×" in check.detail


def test_a_bare_file_has_no_estimate(build: Path):
    check = judge_estimates(None, profile_of(build), JETSON, GatePolicy())
    assert check.verdict is Verdict.SKIPPED


def built_for(build: Path, target: str, **changes: object) -> Subject:
    """The build as one for another target, as a recorded profile says it."""
    return Subject("main.json", None, replace(profile_of(build), target=target, **changes))


def test_what_measures_a_board_without_tensorrt_is_no_host(build: Path):
    for_pi = built_for(build, "raspberry-pi-5")
    absent = absent_target(for_pi, for_pi, cpu())
    assert absent == AbsentTarget("raspberry-pi-5", engines=False)
    check = judge_estimates(for_pi.profile, for_pi.profile, absent, GatePolicy())
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "--host" not in check.detail
    assert "run the gate there, or measure both there with `compress profile`" in check.detail
    assert "estimates rarely decide, for their intervals are wide" in check.detail


def test_a_bundle_for_engines_is_measured_by_a_host(build: Path):
    absent = absent_target(load_subject(build), load_subject(build), PI)
    assert absent is not None
    assert absent.engines
    assert absent.todo == "--host measures it there"


def test_on_the_board_itself_the_board_is_not_absent(build: Path):
    for_pi = built_for(build, "raspberry-pi-5")
    assert absent_target(for_pi, for_pi, PI) is None
    assert absent_target(for_pi, for_pi, OTHER) is not None
    half = replace(PI, cores=2)  # a container that may use two of the four cores
    without = replace(PI, isa=("asimd", "asimdhp"))  # the dot products of int8 are missing
    for same_name in (half, without):
        assert absent_target(for_pi, for_pi, same_name) == AbsentTarget("raspberry-pi-5", engines=False)


def test_a_board_of_another_name_is_known_by_what_was_measured_on_it(build: Path):
    """Its cores and extensions are the target's, and the other side was measured on this machine."""
    here = cpu()
    facts = {
        "name": "ours",
        "provider": "CPUExecutionProvider",
        "backend": "onnxruntime",
        "cores": here.cores,
        "isa": here.isa,
    }
    estimated = replace(built_for(build, "ours"), target=facts)
    measured = tuple(replace(each, source="measured") for each in profile_of(build).latency)
    on_this = built_for(build, "cpu", latency=measured, fingerprint=fingerprint())
    elsewhere = built_for(build, "cpu", latency=measured, fingerprint={"cpu": "another"})
    assert absent_target(estimated, on_this, here) is None
    assert absent_target(estimated, elsewhere, here) == AbsentTarget("ours", engines=False)
    assert (
        absent_target(replace(estimated, target=facts | {"cores": here.cores + 1}), on_this, here) is not None
    )


@pytest.mark.parametrize(
    ("name", "model", "named"),
    [
        ("raspberry-pi-5", "Raspberry Pi 5 Model B Rev 1.0", True),
        ("raspberry-pi-5", "Raspberry Pi 4 Model B Rev 1.5", False),
        ("raspberry-pi-5", "Raspberry Pi 500", False),
        ("", "Raspberry Pi 5", False),
    ],
)
def test_a_board_is_named_word_by_word(name: str, model: str, named: bool):
    assert names_board(name, model) is named


def test_estimates_for_two_targets_are_not_compared(build: Path):
    ours, theirs = (profile_of(build), replace(profile_of(build), target="raspberry-pi-5"))
    check = judge_estimates(ours, theirs, JETSON, GatePolicy())
    assert check.verdict is Verdict.SKIPPED
    assert f"candidate's figures are for {ours.target}, and the baseline's for raspberry-pi-5" in check.detail
