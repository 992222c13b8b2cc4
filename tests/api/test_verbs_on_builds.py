"""The verbs on builds and graphs in Python: ``profile``, ``gate_build``, ``report``, ``inspect``, ``lint_network``."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import compress
from compress.api.opened_model import InputShape, input_shapes
from compress.cli import main
from compress.errors import UsageError
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples

VERBS = ("gate_build", "inspect", "lint_network", "predict", "profile", "report")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, data that it is right about, and a bundle of it."""
    from onnx.reference import ReferenceEvaluator

    directory = tmp_path_factory.mktemp("verbs")
    save_model(classifier(), directory / "model.onnx")
    x = samples(300)
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": x})
    np.savez(directory / "val.npz", x=x, y=scores.argmax(1).astype(np.int64))
    recipe = directory / "none.toml"
    recipe.write_text('name = "nothing"\n[[technique]]\nname = "cast"\n')
    compress.optimize(
        directory / "model.onnx",
        data=directory / "val.npz",
        out=directory / "build",
        recipes=[recipe],
        seconds=0.05,
        threads=1,
    )
    return directory


@pytest.mark.parametrize("name", VERBS)
def test_verbs_are_exported_with_every_argument_told(name: str) -> None:
    import inspect

    assert name in compress.__all__
    verb = getattr(compress, name)
    doc = inspect.getdoc(verb) or ""
    for argument in inspect.signature(verb).parameters:
        assert f"    {argument}: " in doc, argument


def test_no_exported_name_is_a_module_whose_import_would_replace_it() -> None:
    assert [name for name in compress.__all__ if importlib.util.find_spec(f"compress.{name}")] == []
    assert importlib.import_module("compress.gate").gate is importlib.import_module("compress.gate.run").gate


def test_a_profile_in_python_is_the_commands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = {"threads": 1, "seconds": 0.05, "batches": [2]}
    measured = compress.profile(place / "build", data=str(place / "val.npz"), on_note=lambda _: None, **how)
    quick = ["--threads", "1", "--seconds", "0.05", "--batch", "2", "--json"]
    assert main(["profile", str(place / "build"), "--data", str(place / "val.npz"), *quick]) == 0
    told = compress.Profile.from_dict(json.loads(capsys.readouterr().out))
    assert measured.accuracy is not None
    assert told.accuracy is not None
    assert (measured.accuracy.mean, measured.artifact_sha256) == (told.accuracy.mean, told.artifact_sha256)
    assert [each.batch for each in measured.latency] == [each.batch for each in told.latency] == [2]


def test_a_profile_in_python_refuses_what_the_command_refuses(place: Path) -> None:
    with pytest.raises(UsageError, match="--data with --metric"):
        compress.profile(place / "model.onnx", metric="top-1")
    with pytest.raises(UsageError, match="--shape or --data"):
        compress.profile(place / "model.onnx", data=str(place / "val.npz"), shape=(1, 3, 8, 8))


def test_a_profile_that_is_written_is_a_baseline(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "main.json"
    compress.profile(place / "build", threads=1, seconds=0.05, out=out)
    result = compress.gate_build(place / "build", baseline=out, policy=compress_policy("size"))
    assert result.verdict == "pass"
    assert [check.name for check in result.checks] == ["size"]


def compress_policy(*checks: str) -> object:
    from compress.gate import GatePolicy

    return GatePolicy(checks=checks)


def test_a_gate_in_python_is_the_commands(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text('checks = ["accuracy", "size"]\n')
    build = str(place / "build")
    result = compress.gate_build(
        build, baseline=build, data=str(place / "val.npz"), policy=policy, max_drop=2.5
    )
    arguments = ["--baseline", build, "--data", str(place / "val.npz"), "--policy", str(policy)]
    code = main(["gate", build, *arguments, "--max-drop", "2.5", "--json"])
    assert json.loads(json.dumps(result.to_dict())) == json.loads(capsys.readouterr().out)
    assert code == {"pass": 0, "fail": 1, "inconclusive": 3}[result.verdict]
    assert result.policy.max_drop_points == 2.5


def test_reports_in_python_are_the_commands(place: Path, tmp_path: Path) -> None:
    written = compress.report(place / "build", html=tmp_path / "a.html", markdown=tmp_path / "a.md")
    assert written == {"html": tmp_path / "a.html", "markdown": tmp_path / "a.md"}
    assert main(["report", str(place / "build"), "--markdown", str(tmp_path / "b.md")]) == 0
    assert (tmp_path / "a.md").read_text() == (tmp_path / "b.md").read_text()
    assert "<html" in (tmp_path / "a.html").read_text()
    with pytest.raises(UsageError, match="a file of its own"):
        compress.report(place / "build", html=tmp_path / "c", svg=tmp_path / "c")


def test_layers_in_python_are_the_commands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compress.inspect(place / "model.onnx", target="jetson-orin-nano-super", batch=4)
    model = str(place / "model.onnx")
    assert main(["inspect", model, "--target", "jetson-orin-nano-super", "--batch", "4", "--json"]) == 0
    assert json.loads(json.dumps(found.to_dict())) == json.loads(capsys.readouterr().out)
    assert found.batch == 4
    assert found.totals.macs == sum(layer.macs for layer in found.layers)


def test_findings_in_python_are_the_commands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compress.lint_network(place / "model.onnx", target="jetson-orin-nano-super")
    code = main(["lint", str(place / "model.onnx"), "--target", "jetson-orin-nano-super", "--json"])
    assert json.loads(json.dumps(found.to_dict())) == json.loads(capsys.readouterr().out)
    assert code == (1 if found.errors else 0)


def test_shapes_are_read_in_every_form() -> None:
    assert input_shapes(None) == ()
    assert input_shapes((1, 3, 8, 8)) == (InputShape("", (1, 3, 8, 8)),)
    assert input_shapes({"x": [1, 5]}) == (InputShape("x", (1, 5)),)
    assert input_shapes([InputShape("y", (2,), "int64")]) == (InputShape("y", (2,), "int64"),)
    with pytest.raises(UsageError, match="whole numbers from 1"):
        input_shapes({"x": [0, 5]})


def test_verbs_on_builds_need_no_torch(place: Path) -> None:
    script = f"""
import sys
sys.modules["torch"] = None
import compress
build = {str(place / "build")!r}
compress.profile(build, threads=1, seconds=0.05)
compress.inspect({str(place / "model.onnx")!r})
compress.lint_network({str(place / "model.onnx")!r}, target="jetson-orin-nano-super")
compress.report(build, html={str(place / "no-torch.html")!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
