"""The whole way to a board: a real connection, a STAND-IN for trtexec. No time here is one of a board."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import optimize
from compress.backends.trtexec import DEFAULTS
from compress.cli.result_table import warning_lines
from compress.core.progress import Reporter
from compress.errors import ConnectionLostError
from compress.hosts import ssh
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe
from tests.graphs import classifier, samples
from tests.hosts.standin_board import StandInBoard


@pytest.fixture(autouse=True)
def one_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting the stand-in costs a second; that several builds are taken has a test of its own."""
    monkeypatch.setitem(DEFAULTS, "builds", 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    save_model(classifier(batch=8), directory / "model.onnx")
    from onnx.reference import ReferenceEvaluator

    x = samples(32)
    (scores,) = ReferenceEvaluator(classifier(batch=8)).run(None, {"x": x})
    np.savez(directory / "val.npz", x=x, y=scores.argmax(1).astype(np.int64))
    return directory


def run(files: Path, out: Path, **settings: Any) -> Any:
    settings = {"recipes": [recipe("int8", "quantize")], "seconds": 0.05, "max_drop": 100.0, **settings}
    return optimize(
        files / "model.onnx", data=files / "val.npz", target="jetson", host="board", out=out, **settings
    )


class Unplugged(Reporter):
    """Takes the board away when a candidate begins."""

    def __init__(self, board: StandInBoard, name: str) -> None:
        self._board, self._name = board, name

    def begin(self, recipe: Recipe) -> None:
        if recipe.name == self._name:
            self._board.refuse()
            self._board.drop()


def test_board_that_is_gone_stops_the_run_and_loses_nothing(
    files: Path, tmp_path: Path, board: StandInBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "PAUSES", (0.05,))
    with pytest.raises(ConnectionLostError, match="what was measured is kept"):
        run(files, tmp_path / "build", reporter=Unplugged(board, "int8"))
    assert not (tmp_path / "build").exists()
    board.admit()
    result = run(files, tmp_path / "build")
    assert result.resumed == 1
    assert [entry.rejected for entry in result.candidates] == [None, None]
    assert not board.cache.exists()


def recipe(name: str, technique: str, session: dict[str, Any] | None = None) -> Recipe:
    text = {"name": name, "technique": [{"name": technique}], "session": session or {}}
    return Recipe.from_dict(text)


def test_layers_that_left_the_accelerator_are_told(files: Path, tmp_path: Path, board: StandInBoard) -> None:
    board.fault("dla-fallback")
    result = run(files, tmp_path / "build", recipes=[recipe("int8-dla", "quantize", {"dla_core": 0})])
    told = [line for line in warning_lines(result) if line.startswith("warning: int8-dla: ")]
    assert any("fell back from the DLA to the GPU" in line for line in told)


def test_bundle_holds_what_the_board_measured(files: Path, tmp_path: Path, board: StandInBoard) -> None:
    result = run(files, tmp_path / "build")
    assert result.bundle is not None
    profile = result.bundle.profile
    assert profile.backend == "tensorrt"
    assert all(figure.source == "measured" for figure in profile.latency)
    assert profile.fingerprint["board"].startswith("NVIDIA Jetson Orin Nano")
    assert profile.fingerprint["tensorrt"] == "10.3.0"
    assert "cpu" not in profile.fingerprint
    assert profile.energy_mj is not None
    original, int8 = (entry.profile for entry in result.candidates)
    assert original.accuracy.mean == 1.0
    assert int8.latency[0].ratio is not None
    assert int8.coverage.int8["CaskConvolution"] == 2
    assert set(int8.coverage.precisions.values()) >= {"int8"}
    assert not original.coverage.int8
    assert not board.cache.exists()
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    assert manifest["artifact"]["backend"] == "tensorrt"
    engine = manifest["engine"]
    assert (engine["tensorrt"], engine["compute_capability"]) == ("10.3.0", "8.7")
    assert any(argument.startswith("--onnx=") for argument in engine["arguments"])
    assert (tmp_path / "build" / engine["file"]).read_bytes().startswith(b"STANDIN ENGINE 10.3")
    assert "\nmax_batch_size: " in (tmp_path / "build/triton/config.pbtxt").read_text()
    checked = subprocess.run(
        ["sh", tmp_path / "build" / "selfcheck.sh"],
        env={
            **os.environ,
            "COMPRESS_STANDIN": str(board.play),
            "TRTEXEC": str(board.play / "bin" / "trtexec"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stdout
