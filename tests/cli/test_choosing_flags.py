"""--weights and --classes on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compress.cli import main
from compress.onnx_graph.files import save_model
from tests.graphs import classifier

Image = pytest.importorskip("PIL.Image")

FACTORY = "tests.cli.test_choosing_flags:make"


def make() -> torch.nn.Module:
    return torch.nn.Linear(3, 2)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "val" / name / "1.png")
    (tmp_path / "names.txt").write_text("dog\ncats\n")
    save_model(classifier(), tmp_path / "model.onnx")
    torch.save({"model": make().state_dict(), "ema": make().state_dict()}, tmp_path / "last.pt")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["profile", "model.onnx", "--data", "val"],
        ["optimize", "model.onnx", "--data", "val"],
        ["quantize", "model.onnx", "--data", "val"],
    ],
    ids=lambda command: command[0],
)
def test_the_folders_are_held_against_the_classes(
    place: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([*command, "--classes", "names.txt"]) == 2
    told = capsys.readouterr().err
    assert "val/cat; did you mean cats?" in " ".join(told.split())


def test_classes_need_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "model.onnx", "--classes", "names.txt"]) == 2
    assert "--data with --metric, --state, --classes" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["inspect", "lint"])
def test_weights_are_chosen(place: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    given = [command, "last.pt", "--factory", FACTORY, "--shape", "1x3", "--target", "cpu"]
    assert main(given) == 0
    assert "taken: 'model'; --weights ema takes the other" in " ".join(capsys.readouterr().err.split())
    assert main([*given, "--weights", "ema"]) == 0
    assert "taken: 'ema'; --weights model takes the other" in " ".join(capsys.readouterr().err.split())
    assert main([*given, "--weights", "emma"]) == 2
    assert "did you mean ema?" in capsys.readouterr().err
