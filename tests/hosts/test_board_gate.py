"""The gate on a board behind ssh; trtexec there is a STAND-IN, and no time is one of a board."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from compress.backends.trtexec import DEFAULTS
from compress.cli import main
from compress.data.task import load_task
from compress.errors import MachineChangedError, UsageError
from compress.gate import Check, GatePolicy, Verdict, gate
from compress.gate.board import OnBoard
from compress.gate.subject import Subject, load_subject
from compress.hosts import connect
from compress.hosts.board import probe
from compress.hosts.ssh import SshShell
from compress.hosts.tensorrt import TensorRtHost
from compress.onnx_graph.files import save_model
from compress.target.target import load_target
from tests.graphs import classifier, samples
from tests.hosts.standin_board import StandInBoard
from tests.records import profile

#: Two rounds bound a median at 75 %: here it matters only that they are taken, and starting the stand-in takes long.
POLICY = GatePolicy(checks=("latency",), looks=(2,), alpha=0.25, max_slowdown_percent=900.0)


def slow(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function, after work that comes to nothing."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    first = found.graph.node[0]
    names = ["x", *(f"wave{index}" for index in range(300))]
    work = [helper.make_node("Sin", [a], [b]) for a, b in pairwise(names)]
    none = helper.make_node("Sub", [names[-1], names[-1]], ["none"])
    image = helper.make_node("Add", ["x", "none"], ["image"])
    first.input[0] = "image"
    nodes = [*work, none, image, *found.graph.node]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    save_model(classifier(), directory / "main.onnx")
    save_model(slow(classifier()), directory / "slow.onnx")
    return directory


@pytest.fixture(autouse=True)
def two_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULTS, "builds", 2)


def gated(
    files: Path, candidate: str, baseline: Any = "main.onnx", policy: GatePolicy = POLICY, **settings: Any
) -> list[Check]:
    theirs = files / baseline if isinstance(baseline, str) else baseline
    return gate(files / candidate, theirs, policy=policy, host="board", target="jetson", **settings)


def test_both_are_built_there_and_timed_in_turns(
    files: Path, board: StandInBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.gate.board.ENERGY_RUNS", 2)
    policy = replace(POLICY, checks=("latency", "energy"), max_energy_growth_percent=10_000.0)
    board.fault("long")
    latency, energy = gated(files, "main.onnx", policy=policy)
    assert latency.verdict is Verdict.PASS
    assert latency.figures["rounds"] == 2
    assert energy.verdict is Verdict.PASS
    assert not board.cache.exists()


def test_slower_one_fails_and_a_clock_that_fell_is_told(files: Path, board: StandInBoard) -> None:
    board.fault("throttle")
    told: list[str] = []
    policy = replace(POLICY, max_slowdown_percent=10.0, looks=(3,))  # of two batch sizes, either fails it
    (check,) = gated(files, "slow.onnx", on_note=told.append, policy=policy)
    assert check.verdict is Verdict.FAIL
    assert check.figures["batches"].keys() == {"1", "8"}  # type: ignore[attr-defined]
    assert any("clock fell from 918 to 306 MHz" in each for each in told)


def test_profile_of_another_power_mode_decides_nothing(files: Path, board: StandInBoard) -> None:
    with SshShell("board") as shell:
        here = probe(shell).fingerprint()
    recorded = replace(profile(), fingerprint={**here, "power_mode": "MAXN_SUPER"})
    (check,) = gated(files, "main.onnx", Subject("main.json", None, recorded))
    assert check.verdict is Verdict.SKIPPED
    assert "power_mode MAXN_SUPER, here 15W" in check.detail
    same = Subject("main.json", None, replace(recorded, fingerprint=here))
    (check,) = gated(files, "main.onnx", same, policy=replace(POLICY, max_drift_percent=1e4))
    assert check.verdict is not Verdict.SKIPPED


def test_power_mode_that_changes_meanwhile_ends_the_gate(files: Path, board: StandInBoard) -> None:
    board.fault("other-power once")
    with pytest.raises(MachineChangedError, match=r"power_mode 15W; found power_mode MAXN_SUPER"):
        gated(files, "main.onnx")


def test_one_graph_with_other_options_is_another_build(files: Path, board: StandInBoard) -> None:
    target, subject = load_target("jetson"), load_subject(files / "main.onnx")
    sides = [subject.run_like("tensorrt", {**DEFAULTS, "cuda_graph": graph}) for graph in (True, False)]
    with connect(target, host="board") as machine:
        assert isinstance(machine, TensorRtHost)
        place = OnBoard(machine, machine.adapt(target))
        with place.open(sides[0]), place.open(sides[1]):
            assert [place._build(side).artifact for side in sides] == [side.artifact for side in sides]


def test_accuracy_is_of_the_engines_there(files: Path, board: StandInBoard) -> None:
    x = samples(48)
    task = load_task((x, np.zeros(48, dtype=np.int64)), metric="agreement")
    policy = replace(POLICY, checks=("accuracy",), max_drop_points=100.0)
    (check,) = gated(files, "main.onnx", task=task, policy=policy)
    assert check.verdict is Verdict.PASS


def test_target_without_a_host_and_host_without_a_target_are_usage(files: Path) -> None:
    path = files / "main.onnx"
    with pytest.raises(UsageError, match="--host with --target"):
        gate(path, path, target="jetson")
    with pytest.raises(UsageError, match="--target with --host"):
        gate(path, path, host="board")


def test_command_gates_on_the_board(
    files: Path, board: StandInBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gate.toml").write_text(
        'checks = ["latency"]\nlooks = [2]\nalpha = 0.25\nmax_slowdown_percent = 900\n'
    )
    path = str(files / "main.onnx")
    given = ["--host", "board", "--target", "jetson", "--policy", str(tmp_path / "gate.toml")]
    assert main(["gate", path, "--baseline", path, *given]) == 0
    assert "verdict: pass" in capsys.readouterr().out
