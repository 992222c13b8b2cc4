"""Weights that are rounded without data: as with data, matrix by matrix, and taken up where a killed run left them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compress.cli import main
from compress.language import graph, weight_file
from compress.language.graph import decoder_model
from compress.language.safetensors_files import SafetensorsFiles
from compress.language.weights import expected_shapes, open_language_model
from compress.language.weights_alone import matrices_of, write_rounded
from compress.machine import room
from compress.onnx_graph.files import sha256_of
from compress.quantization.weights import Settings, quantize_weights
from tests.language.documents import small_model
from tests.language.tiny import KINDS, tiny

pytest.importorskip("tokenizers")

RECIPE = """name = "int4"

[[technique]]
name = "weight_only"
algorithm = "{algorithm}"
compute = "float32"
tied_bits = {tied_bits}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose models are large, as far as writing them is concerned."""
    small_model(tmp_path / "model", num_hidden_layers=3)
    (tmp_path / "int4.toml").write_text(RECIPE.format(algorithm="rtn", tied_bits=8), encoding="utf-8")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(graph, "LARGE", 0)
    monkeypatch.setattr(weight_file, "SYNC_BYTES", 0)
    return tmp_path


def quantize(*more: str) -> int:
    code: int = main(["quantize", "model", "--recipe", "int4.toml", "--out", "out/int4.onnx", *more])
    return code


def run(path: Path | onnx.ModelProto, ids: list[int]) -> np.ndarray:
    import onnxruntime

    source = str(path) if isinstance(path, Path) else path.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    feeds: dict[str, Any] = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
    for each in session.get_inputs()[2:]:
        feeds[each.name] = np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
    found: np.ndarray = session.run(["logits"], feeds)[0]
    return found


@pytest.mark.parametrize("algorithm", ["rtn", "search", "hqq", "onnxruntime"])
@pytest.mark.parametrize(
    "settings", [{}, {"tie_word_embeddings": False}, {"hidden_size": 80, "head_dim": 16}]
)
def test_it_is_the_network_that_quantizing_with_data_makes(
    place: Path, algorithm: str, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    small_model(place / "model", **settings)
    (place / "int4.toml").write_text(RECIPE.format(algorithm=algorithm, tied_bits=4), encoding="utf-8")
    assert quantize("--json") == 0
    told = json.loads(capsys.readouterr().out)
    opened = open_language_model(place / "model")
    asked = Settings(algorithm, tied_bits=4)
    wanted, report = quantize_weights(decoder_model(opened.config, opened.weights), [], asked)
    ids = [5, 9, 14, 3, 77]
    np.testing.assert_allclose(run(place / "out/int4.onnx", ids), run(wanted, ids), rtol=1e-3, atol=1e-3)
    found = told["reports"]["weight_only"]
    errors = {layer["nodes"][0]: layer["error"] for layer in found["layers"]}
    for layer in report.layers:
        name = "embedding" if "embedding" in layer.nodes else layer.nodes[0]
        assert errors.pop(name) == pytest.approx(layer.error, rel=1e-3)
    assert errors == {}
    assert told["accuracy"] is None
    assert told["sha256"] == sha256_of(place / "out/int4.onnx")
    assert told["bytes"] == found["bytes_after"]
    assert sorted(each.name for each in (place / "out").iterdir()) == ["int4.onnx", "int4.onnx.data"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_has_its_matrices_under_the_same_names(tmp_path: Path, kind: str):
    tiny(tmp_path / "model", kind, vocab_size=96)
    opened = open_language_model(tmp_path / "model")
    (tmp_path / "kept").mkdir()
    settings = Settings("rtn", group_size=16)
    done: list[int] = []
    report = write_rounded(opened, settings, tmp_path / "net.onnx", tmp_path / "kept", done.append)
    wanted, told = quantize_weights(decoder_model(opened.config, opened.weights), [], settings)
    assert len(report.layers) == len(told.layers)
    assert done[-1] == matrices_of(opened.config)
    ids = [5, 9, 14, 3, 77]
    np.testing.assert_allclose(run(tmp_path / "net.onnx", ids), run(wanted, ids), rtol=1e-3, atol=1e-3)


def test_one_matrix_at_a_time_is_in_memory(place: Path, monkeypatch: pytest.MonkeyPatch):
    """What has been read and is still alive when more is read: never more than the largest matrix of the network."""
    from weakref import finalize

    shapes = expected_shapes(open_language_model(place / "model").config)
    alive: dict[int, int] = {}
    peaks: list[int] = []
    read = SafetensorsFiles.read

    def watched(self: SafetensorsFiles, name: str) -> Any:
        values = read(self, name)
        alive[id(values)] = values.nbytes
        finalize(values, alive.pop, id(values))
        peaks.append(sum(alive.values()))
        return values

    monkeypatch.setattr(SafetensorsFiles, "read", watched)
    assert quantize() == 0
    assert len(peaks) >= len(shapes)
    assert max(peaks) <= 4 * max(int(np.prod(shape)) for shape in shapes.values())


LAUNCH = """
import sys, time
from compress.language import graph, weight_file
graph.LARGE = weight_file.SYNC_BYTES = 0
finish = weight_file.WeightFile.finish
def slowly(self, *arguments):
    finish(self, *arguments)
    time.sleep(0.1)
weight_file.WeightFile.finish = slowly
from compress.cli import main
sys.exit(main(sys.argv[1:]))
"""


def killed(place: Path, lines: int) -> Path:
    """Kill a run for real once there are so many matrices, and return what it keeps."""
    given = ["quantize", "model", "--recipe", "int4.toml", "--out", "out/int4.onnx"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen([sys.executable, "-c", LAUNCH, *given], cwd=place, env=environment)
    kept = place / "out/int4.onnx.partial"
    journal = kept / graph.JOURNAL
    while running.poll() is None and (not journal.is_file() or journal.read_bytes().count(b"\n") < lines):
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    return kept


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tensors that are read."""
    names: list[str] = []
    read = SafetensorsFiles.read

    def told(self: SafetensorsFiles, name: str) -> Any:
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(SafetensorsFiles, "read", told)
    return names


def test_a_killed_run_is_taken_up_and_ends_in_the_same_bytes(place: Path, asked: list[str]):
    assert quantize() == 0
    wanted = [each.read_bytes() for each in sorted((place / "out").iterdir())]
    for each in (place / "out").iterdir():
        each.unlink()
    kept = killed(place, 6)
    assert [each.name for each in (place / "out").iterdir()] == [kept.name]
    with (kept / "int4.onnx.data").open("ab") as file:
        file.write(b"half a matrix")
    with (kept / graph.JOURNAL).open("ab") as file:
        file.write(b'{"name": "half a line')
    asked.clear()
    assert quantize() == 0
    assert sorted(each.name for each in (place / "out").iterdir()) == ["int4.onnx", "int4.onnx.data"]
    assert [each.read_bytes() for each in sorted((place / "out").iterdir())] == wanted
    assert "model.embed_tokens.weight" not in asked
    assert "model.layers.0.mlp.down_proj.weight" not in asked
    assert "model.layers.2.mlp.down_proj.weight" in asked


def test_other_weights_or_settings_are_begun_anew(place: Path, asked: list[str]):
    killed(place, 4)
    small_model(place / "model", num_hidden_layers=3, rms_norm_eps=1e-5)
    assert quantize() == 0
    assert "model.embed_tokens.weight" in asked


def test_a_run_that_fails_keeps_nothing_but_its_own_directory(
    place: Path, capsys: pytest.CaptureFixture[str]
):
    path = place / "model/model.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + np.array([np.nan, 0], np.float32).tobytes())
    assert quantize() == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: wanted finite weights")
    assert [each.name for each in (place / "out").iterdir()] == ["int4.onnx.partial"]


@pytest.mark.parametrize("short_of", ["memory", "space"])
def test_too_little_room_is_told_before_any_weight_is_read(
    place: Path,
    short_of: str,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    if short_of == "memory":
        monkeypatch.setattr(room, "available_memory", lambda: 1000)
    else:
        monkeypatch.setattr(room.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert quantize() == 2
    error = capsys.readouterr().err
    assert f"of {short_of}" in error
    assert error.count("\n") == 1
    assert asked == []
    assert list((place / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "gptq.toml"], 'without --data, a recipe of weight_only alone with algorithm = "rtn"'),
        (["--precision", "int8"], "without --data, a recipe of weight_only alone"),
        (["--recipe", "int4.toml", "--metric", "perplexity"], "--data with --metric"),
        (["--recipe", "excluding.toml"], "nodes of the network in exclude_nodes"),
        (["--recipe", "int4.toml", "--target", "jetson"], "a target that ONNX Runtime serves"),
    ],
)
def test_what_needs_data_says_so(
    place: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    (place / "gptq.toml").write_text(RECIPE.format(algorithm="gptq", tied_bits=8), encoding="utf-8")
    excluding = RECIPE.format(algorithm="rtn", tied_bits=8) + 'exclude_nodes = ["x"]\n'
    (place / "excluding.toml").write_text(excluding, encoding="utf-8")
    assert main(["quantize", "model", "--out", "out/int4.onnx", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list((place / "out").iterdir()) == []


def test_other_networks_need_data(place: Path, capsys: pytest.CaptureFixture[str]):
    from compress.onnx_graph.files import save_model
    from tests.graphs import classifier

    save_model(classifier(), place / "net.onnx")
    assert main(["quantize", "net.onnx"]) == 2
    assert "evaluation data; found none; give --data" in capsys.readouterr().err
