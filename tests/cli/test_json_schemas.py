"""What commands print with ``--json`` is what its published schema says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from compress.cli import main
from compress.core.places import cache_directory
from compress.records.schemas import NAMES, schema_text
from tests.graphs import classifier, samples

QUICK = ("--threads", 1, "--seconds", 0.05)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    onnx.save(classifier(), place / "model.onnx")
    (place / "mine.toml").write_text('name = "mine"\n[[technique]]\nname = "quantize"\n')
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": samples(60)})
    np.savez(place / "val.npz", x=samples(60), y=scores.argmax(1).astype(np.int64))
    return place


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(schema_text(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) in (0, 1, 3)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def optimized(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    common = (
        *QUICK,
        "--data",
        place / "val.npz",
        "--recipe",
        place / "mine.toml",
        "--out",
        tmp_path / "build",
    )
    return told(capsys, "optimize", place / "model.onnx", *common, "--max-drop", 100, "--json")


def test_optimize(optimized: dict[str, Any]) -> None:
    validator("optimize").validate(optimized)
    assert optimized["candidates"][0]["profile"]["slices"][0]["samples"] > 0
    # A profile inside it is held to the schema of profiles.
    wrong = copy.deepcopy(optimized)
    wrong["candidates"][0]["profile"]["latency"][0]["source"] = "guessed"
    with pytest.raises(jsonschema.ValidationError):
        validator("optimize").validate(wrong)


def test_optimize_that_ships_nothing(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = (
        *QUICK,
        "--data",
        place / "val.npz",
        "--recipe",
        place / "mine.toml",
        "--out",
        tmp_path / "build",
    )
    found = told(capsys, "optimize", place / "model.onnx", *common, "--max-size", 1e-6, "--json")
    assert found["bundle"] is None
    validator("optimize").validate(found)


def test_gate(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text('checks = ["accuracy", "slices", "size", "coverage", "energy"]')
    model, data = place / "model.onnx", place / "val.npz"
    found = told(capsys, "gate", model, "--baseline", model, "--data", data, "--policy", policy, "--json")
    validator("gate").validate(found)
    assert {check["name"] for check in found["checks"]} == set(found["policy"]["checks"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema"], 2),
        (["verdict"], "skipped"),
        (["checks"], []),
        (["checks", 0, "verdict"], "maybe"),
        (["checks", 0, "detail"], ""),
        (["policy", "max_drop_points"], -1),
        (["policy", "alpha"], 0.5),
        (["surprise"], 1),
    ],
)
def test_a_wrong_verdict_is_invalid(path: list[Any], value: Any) -> None:
    from compress.gate import Check, GatePolicy, Verdict

    checks = [Check("accuracy", Verdict.PASS, "drop 0", {"samples": 1}).to_dict()]
    policy = json.loads(json.dumps(GatePolicy().to_dict()))
    right: dict[str, Any] = {
        "schema": 1,
        "verdict": "pass",
        "candidate": "a",
        "candidate_sha256": 64 * "a",
        "baseline": "b",
        "baseline_sha256": 64 * "b",
        "note": None,
        "checks": checks,
        "policy": policy,
    }
    validator("gate").validate(right)
    place: Any = right
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validator("gate").validate(right)


@pytest.mark.parametrize("data", [True, False])
def test_profile(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bool) -> None:
    more = ("--data", place / "val.npz") if data else ()
    found = told(capsys, "profile", place / "model.onnx", "--threads", 1, "--batch", 1, *more, "--json")
    validator("profile").validate(found)


def test_predict(
    optimized: dict[str, Any], place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", samples(1))
    found = told(capsys, "predict", optimized["bundle"], tmp_path / "x.npy", "--json")
    validator("predict").validate(found)
    assert len(found["outputs"][0]["top"]) == 4
    for wrong in ({"schema": 2}, {"backend": None}, {"outputs": [{"name": "scores"}]}, {"surprise": 1}):
        with pytest.raises(jsonschema.ValidationError):
            validator("predict").validate({**found, **wrong})


def test_techniques(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "techniques", "--json")
    validator("techniques").validate(found)
    one = told(capsys, "techniques", "prune", "--json")
    validator("techniques").validate(one)
    assert one["techniques"] == [each for each in found["techniques"] if each["name"] == "prune"]
    setting = {**one["techniques"][0]["settings"][0], "range": 3}
    for wrong in ({"schema": 2}, {"techniques": [{**one["techniques"][0], "settings": [setting]}]}):
        with pytest.raises(jsonschema.ValidationError):
            validator("techniques").validate({**one, **wrong})


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = cache_directory() / "engines" / "one"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(100))
    found = told(capsys, "cache", tmp_path, "--json")
    validator("cache").validate(found)
    assert {"kind": "engine", "path": str(kept), "bytes": 100} in found["kept"]
    removed = told(capsys, "cache", tmp_path, "--remove", "--json")
    validator("cache").validate(removed)
    assert {"kind": "engine", "path": str(kept), "bytes": 100, "removed": True} in removed["kept"]
    for wrong in ({"bytes": -1}, {"kept": [{"kind": "cookie", "path": "x", "bytes": 1}]}):
        with pytest.raises(jsonschema.ValidationError):
            validator("cache").validate({**found, **wrong})


@pytest.mark.parametrize("name", NAMES)
def test_the_command_prints_each_schema_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    schema = told(capsys, "report", "--schema", name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:compress-toolkit:{name}:1"
    # It needs no other file: all it refers to is inside it.
    assert ("urn:compress-toolkit:profile:1" in json.dumps(schema.get("$defs", {}))) == (
        name in ("optimize", "benchmark", "targets", "power-modes")
    )
