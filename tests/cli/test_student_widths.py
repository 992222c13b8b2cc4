"""``compress distill --widths`` on files, as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compress.cli import main
from compress.network.network import load_network
from compress.network.saving import save_network

FAMILY = """
from torch import nn

def hidden(width):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 4))
"""

TRAINING = ["--epochs", "3", "--batch-size", "25", "--learning-rate", "0.02"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("widths")
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 4))
    with torch.no_grad():
        for value in teacher.parameters():
            value *= 3  # boundaries that narrow students cannot follow
        random = np.random.default_rng(0)
        for name, count in (("train", 1500), ("val", 500)):
            x = random.normal(size=(count, 8)).astype(np.float32)
            np.savez(folder / f"{name}.npz", x=x, y=teacher(torch.from_numpy(x)).argmax(1).numpy())
    save_network(load_network(teacher, example={"x": x[:2]}), folder / "teacher.pt2")
    (folder / "family.py").write_text(FAMILY)
    return folder


@pytest.fixture
def arguments(files, monkeypatch) -> list[str]:
    monkeypatch.chdir(files)
    (files / "student.onnx").unlink(missing_ok=True)
    given = ["distill", "teacher.pt2", "--student", "family:hidden", "--data", "val.npz"]
    return [*given, "--train-data", "train.npz", "--out", "student.onnx", *TRAINING]


def test_the_width_that_is_recommended_is_written(arguments, capsys):
    options = ["--widths", "2,4,6,8", "--candidates", "8,16,32", "--max-drop", "60", "--longer-epochs", "5"]
    assert main([*arguments, *options]) == 0
    told = capsys.readouterr().out
    for part in ("parameters", "predicted (90 %)", "recommended: width", "longer schedule", "student.onnx"):
        assert part in told
    session = onnxruntime.InferenceSession("student.onnx")
    assert session.run(None, {session.get_inputs()[0].name: np.ones((3, 8), np.float32)})[0].shape == (3, 4)


def test_nothing_is_written_where_no_width_keeps_the_margin(arguments, capsys):
    options = ["--widths", "2,4,8", "--candidates", "16", "--max-drop", "0", "--runs", "1", "--json"]
    assert main([*arguments, *options]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["chosen"], told["path"], told["check"], told["networks"]) == (None, None, None, [])
    assert [each["width"] for each in told["trained"]] == [2, 4, 8]
    assert not Path("student.onnx").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--widths", "2,4"], "at least 3 different widths"),
        (
            ["--candidates", "4,5"],
            "--widths with --candidates; found none; give it, or leave --candidates out",
        ),
        (["--longer-epochs", "2"], "--widths with --longer-epochs"),
        (["--widths", "2,4,wide"], "not numbers with commas between"),
        (["--widths", "2,4,8", "--features", "1"], "students that learn outputs alone"),
        (["--widths", "2,4,8", "--out", "teacher.pt2"], "teacher.pt2, which is given as a network"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(arguments, capsys, options, message):
    assert main([*arguments, *options]) == 2
    assert message in capsys.readouterr().err


def test_several_processes_are_refused(arguments, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*arguments, "--widths", "2,4,8"]) == 2
    assert "without torchrun" in capsys.readouterr().err
