"""This repository's own gate: what compress makes of the committed network, against the committed profile."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.networks import digits
from compress.bundle.profile_file import load_recorded, with_digest
from compress.cli import main
from compress.records.profile import DIGEST

PROFILES = Path(__file__).resolve().parents[2] / "profiles"
BASELINE = PROFILES / "digits.cpu.json"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    digits.build(path)
    return path


def gate(build: Path, *arguments: str) -> int:
    data = ["--data", "benchmarks.networks.digits:task", "--policy", str(PROFILES / "gate.toml")]
    code: int = main(["gate", str(build), "--baseline", str(BASELINE), *data, *arguments])
    return code


def test_the_build_of_today_falls_behind_in_nothing(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(build, "--json") == 0
    checks = [check["name"] for check in json.loads(capsys.readouterr().out)["checks"]]
    assert checks == ["accuracy", "slices", "churn", "size", "coverage"]


def test_a_build_that_lost_accuracy_fails(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(build)
    filters = next(each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8)
    values = onnx.numpy_helper.to_array(filters)
    filters.raw_data = np.ascontiguousarray(values[::-1]).tobytes()
    onnx.save(model, tmp_path / "broken.onnx")
    assert gate(tmp_path / "broken.onnx") == 1
    assert "accuracy: fail" in capsys.readouterr().out


def test_latency_is_decided_against_a_build_of_the_base_branch(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = ["--policy", str(PROFILES / "latency.toml")]
    main(["gate", str(build), "--baseline", str(build), "--data", "benchmarks.networks.digits:task", *policy])
    assert "rounds of both in turns" in capsys.readouterr().out


def test_latency_of_another_machine_is_skipped(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(
        json.dumps(with_digest(replace(load_recorded(BASELINE), fingerprint={"cpu": "another"})))
    )
    arguments = ["--baseline", str(elsewhere), "--policy", str(PROFILES / "latency.toml")]
    assert main(["gate", str(build), *arguments, "--on-inconclusive", "pass"]) == 0
    assert "latency: skipped: the baseline was recorded on another machine" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.json")), ids=lambda path: path.name)
def test_committed_profiles_are_sealed_and_named_after_their_network(path: Path) -> None:
    profile = load_recorded(path)
    assert json.loads(path.read_text())[DIGEST]
    assert path.name == f"{profile.network}.{profile.target}.json"
