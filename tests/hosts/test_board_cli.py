"""The commands against a board behind ssh; trtexec there is a STAND-IN."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from compress.backends.trtexec import DEFAULTS
from compress.cli import main
from compress.onnx_graph.files import save_model
from tests.graphs import classifier
from tests.hosts.standin_board import StandInBoard


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_model(classifier(batch=1), tmp_path / "model.onnx"))


def test_profile_of_an_onnx_file_on_a_board(
    model: str, board: StandInBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DEFAULTS, "builds", 1)
    (board.play / "power").write_text("NV Power Mode: MAXN_SUPER\n2\n")
    arguments = ["profile", model, "--target", "jetson", "--host", "board", "--seconds", "0.05", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fingerprint"]["power_mode"] == "MAXN_SUPER"
    assert found["backend"] == "tensorrt"
    assert found["conditions"]["temperature_c"] == 48.5
    assert found["latency"][0]["source"] == "measured"
    assert found["accuracy"] is None
    assert found["layers"]


def test_host_may_be_this_machine(
    model: str, board: StandInBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DEFAULTS, "builds", 1)
    monkeypatch.setenv("HOME", str(board.home))
    monkeypatch.setenv("PATH", f"{board.play / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("COMPRESS_STANDIN", str(board.play))
    monkeypatch.setenv("COMPRESS_BOARD_ROOT", str(board.play / "root"))
    monkeypatch.setenv("COMPRESS_SSH", "false")
    assert (
        main(["profile", model, "--target", "jetson", "--host", "local", "--seconds", "0.05", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["fingerprint"]["power_mode"] == "15W"
    assert not board.cache.exists()


@pytest.mark.parametrize(
    "given, told",
    [
        (["--target", "cpu", "--host", "board"], "TensorRT back end"),
        (["--target", "jetson", "--host", "-oProxyCommand=true"], "an address that ssh takes"),
        (["--target", "jetson", "--host", "board", "--scenario", "offline"], "leave one out"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_done(
    model: str, given: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", model, *given]) == 2
    assert told in capsys.readouterr().err
