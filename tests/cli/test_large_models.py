"""Networks that no message of protocol buffers holds: every command takes them as it takes others.

The limit is lowered, so that a small network is one of these; what is found is held against what is found without.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks.networks.synthetic_mlp import write_mlp
from compress.cli import main
from compress.errors import NetworkError
from compress.machine import room
from compress.onnx_graph import weights
from compress.onnx_graph.files import files_of, sha256_of
from compress.onnx_graph.reading import read_model
from compress.onnx_graph.sessions import open_session
from tests.language.documents import json_lines, sentences, small_model

QUICK = ["--seconds", "0.02", "--threads", "1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_mlp(tmp_path / "net.onnx", 4e5, 128)
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 128), np.float32)
    (scores,) = open_session(read_model(tmp_path / "net.onnx")).run(None, {"x": x})
    np.savez(tmp_path / "val.npz", x=x, y=scores.argmax(1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(weights, "LARGEST_MESSAGE", 1 << 16)
    monkeypatch.setattr(weights, "LARGE", 1 << 10)
    weights.drop_lasting_files()
    yield
    weights.drop_lasting_files()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code = main([*arguments, "--json"])
    found = capsys.readouterr()
    assert code in (0, 1, 3), found.err
    return json.loads(found.out)


def test_it_is_inspected_as_others_are(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    before = told(capsys, "inspect", "net.onnx")
    request.getfixturevalue("small_messages")
    assert told(capsys, "inspect", "net.onnx") == before


@pytest.mark.usefixtures("small_messages")
def test_lint_says_what_it_cannot_ask(place: Path, capsys: pytest.CaptureFixture[str]):
    findings = told(capsys, "lint", "net.onnx", "--target", "cpu")["findings"]
    assert [each for each in findings if each["severity"] == "error"] == []


@pytest.mark.parametrize(
    "technique",
    [
        'name = "weight_only"\nalgorithm = "rtn"\nbits = 8',
        'name = "quantize"',
        'name = "quantize_dynamic"',
        'name = "cast"\nprecision = "float16"',
    ],
)
def test_it_is_quantized_as_others_are(
    place: Path, technique: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
):
    (place / "recipe.toml").write_text(f'name = "one"\n\n[[technique]]\n{technique}\n', encoding="utf-8")
    given = ["quantize", "net.onnx", "--data", "val.npz", "--recipe", "recipe.toml"]
    before = told(capsys, *given, "--out", "before.onnx")
    request.getfixturevalue("small_messages")
    after = told(capsys, *given, "--out", "after.onnx")
    assert after["accuracy"]["mean"] == before["accuracy"]["mean"]
    assert after["agreement"]["mean"] == before["agreement"]["mean"]
    assert after["bytes"] == pytest.approx(before["bytes"], rel=0.1)
    assert after["sha256"] == sha256_of(place / "after.onnx")
    assert [each.name for each in files_of(place / "after.onnx")] == ["after.onnx", "after.onnx.data"]


@pytest.mark.usefixtures("small_messages")
def test_it_is_optimized_profiled_and_gated(place: Path, capsys: pytest.CaptureFixture[str]):
    found = told(capsys, "profile", "net.onnx", "--data", "val.npz", "--out", "p.json", *QUICK)
    assert found["artifact_sha256"] == sha256_of(place / "net.onnx")
    given = ["optimize", "net.onnx", "--data", "val.npz", "--target", "cpu", "--out", "build"]
    told(capsys, *given, "--max-drop", "100", "--objective", "size", *QUICK)
    (place / "gate.toml").write_text('checks = ["accuracy", "size"]\nmax_drop_points = 100\n')
    gate = ["gate", "build", "--baseline", "build", "--data", "val.npz", "--policy", "gate.toml"]
    assert told(capsys, *gate)["verdict"] == "pass"


@pytest.mark.usefixtures("small_messages")
def test_a_language_model_is_optimized(place: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("tokenizers")
    small_model(place / "model")
    json_lines(place / "texts", sentences(60))
    assert told(capsys, "inspect", "model")["format"] == "decoder"
    recipe = 'name = "one"\n\n[[technique]]\nname = "weight_only"\nalgorithm = "rtn"\n'
    (place / "recipe.toml").write_text(recipe, encoding="utf-8")
    given = ["optimize", "model", "--data", "texts", "--target", "cpu", "--out", "build", *QUICK]
    told(capsys, *given, "--max-drop", "100", "--objective", "size", "--recipe", "recipe.toml")
    (place / "gate.toml").write_text('checks = ["accuracy", "size"]\nmax_drop_points = 100\n')
    gate = ["gate", "build", "--baseline", "build", "--data", "texts", "--policy", "gate.toml"]
    assert told(capsys, *gate)["verdict"] == "pass"


@pytest.mark.usefixtures("small_messages")
@pytest.mark.parametrize(
    "command",
    [
        ("quantize", "net.onnx", "--out", "out.onnx"),
        ("optimize", "net.onnx", "--target", "cpu", "--out", "out"),
        ("profile", "net.onnx"),
        ("gate", "net.onnx", "--baseline", "net.onnx"),
    ],
    ids=lambda command: command[0],
)
def test_too_little_memory_is_told_before_the_work(
    place: Path,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(room, "available_memory", lambda: 1000)
    before = sorted(place.iterdir())
    assert main([*command, "--data", "val.npz"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "of memory for net.onnx" in error
    assert sorted(place.iterdir()) == before


@pytest.mark.usefixtures("small_messages")
def test_too_little_temporary_space_is_told_before_the_work(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert main(["quantize", "net.onnx", "--data", "val.npz", "--out", "out.onnx"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "set TMPDIR to another directory" in error
    assert not (place / "out.onnx").exists()


@pytest.mark.usefixtures("small_messages")
@pytest.mark.parametrize("change", ["short", "elsewhere", "length"])
def test_weights_that_are_not_where_the_graph_says_are_one_line(
    place: Path, change: str, capsys: pytest.CaptureFixture[str]
):
    path = place / "net.onnx"
    if change == "short":
        data = place / "net.onnx.data"
        data.write_bytes(data.read_bytes()[:-100])
    else:
        model = onnx.load(path, load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            if entry.key == ("location" if change == "elsewhere" else "length"):
                entry.value = "../net.onnx.data" if change == "elsewhere" else "12"
        path.write_bytes(model.SerializeToString())
    with pytest.raises(NetworkError):
        read_model(path)
    assert main(["inspect", "net.onnx"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
