"""An original that does not fit its data is doubted by every verb: a warning, and with ``--strict`` an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import compress
from compress.cli import main
from compress.errors import DataError
from compress.network.network import load_network
from compress.network.saving import save_network

CLASSES = 5
DOUBT = "warning: the original is right on "

#: Every verb with all that it needs, so short that a test can run it.
COMMANDS = {
    "optimize": [
        "--recipe",
        "nothing.toml",
        "--threads",
        "1",
        "--seconds",
        "0.05",
        "--backend",
        "onnxruntime",
    ],
    "quantize": ["--out", "out.onnx"],
    "prune": ["--ratio", "0.2", "--threads", "1", "--seconds", "0.05"],
    "distill": ["--student", "doubted_students:narrow", "--train-data", "train.npz", "--epochs", "1"],
    "distill --widths": [
        *("--student", "doubted_students:of_width", "--train-data", "train.npz", "--epochs", "1"),
        *("--widths", "2,3,4", "--candidates", "4", "--runs", "1", "--max-drop", "100"),
    ],
}

STUDENTS = f"""
from torch import nn

def of_width(width):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, {CLASSES}))

def narrow():
    return of_width(4)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with data that it is right about, and the same data with its labels shuffled or renamed."""
    folder = tmp_path_factory.mktemp("doubted")
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    module = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, CLASSES)).eval()
    for name, count in (("train", 400), ("right", 400)):
        x = random.standard_normal((count, 8)).astype(np.float32)
        with torch.no_grad():
            y = module(torch.from_numpy(x)).argmax(1).numpy()
        np.savez(folder / f"{name}.npz", x=x, y=y)
    np.savez(folder / "shuffled.npz", x=x, y=random.permutation(y))
    np.savez(folder / "renamed.npz", x=x, y=(y + 2) % CLASSES)
    save_network(load_network(module, example={"x": x[:2]}), folder / "net.pt2")
    (folder / "doubted_students.py").write_text(STUDENTS)
    (folder / "nothing.toml").write_text('name = "nothing"\n[[technique]]\nname = "cast"\n')
    return folder


@pytest.fixture
def place(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(files)
    return files


def run(verb: str, data: str, *further: str) -> int:
    code: int = main([verb.split()[0], "net.pt2", "--data", data, *COMMANDS[verb], *further])
    return code


@pytest.mark.parametrize("verb", COMMANDS)
def test_labels_in_another_order_are_an_error_with_strict(
    verb: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(place.iterdir())
    assert run(verb, "renamed.npz", "--strict") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(
        "error: wanted an original that does on the data what it was trained for (--strict)"
    )
    assert "the classes seem to be in another order than the network's" in told.err
    assert told.err.count("\n") == 1
    assert sorted(path for path in place.iterdir() if path.name != "__pycache__") == [
        path for path in before if path.name != "__pycache__"
    ]


@pytest.mark.parametrize("verb", COMMANDS)
def test_labels_in_another_order_are_a_warning_without(
    verb: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(verb, "renamed.npz") == 0
    for told in capsys.readouterr():  # while the command runs, and with its result
        assert told.count(DOUBT) == 1
        assert "the classes seem to be in another order than the network's" in told


def test_shuffled_labels_are_told_as_chance(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quantize", "shuffled.npz", "--strict") == 2
    assert "which is chance" in capsys.readouterr().err
    assert run("quantize", "shuffled.npz") == 0
    told = capsys.readouterr()
    assert DOUBT in told.err
    assert "which is chance" in told.err


def test_data_that_the_network_is_right_about_passes_with_strict(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", "right.npz", "--strict") == 0
    told = capsys.readouterr()
    assert "warning: the original" not in told.err + told.out


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("optimize", {}),
        ("quantize", {}),
        ("prune", {"ratio": 0.2}),
        ("distill", {"student": "doubted_students:narrow", "train_data": "train.npz"}),
        (
            "choose_student",
            {"student": "doubted_students:of_width", "widths": [2, 3, 4], "train_data": "train.npz"},
        ),
    ],
)
def test_python_raises_with_strict(verb: str, options: dict[str, Any], place: Path) -> None:
    with pytest.raises(DataError, match="another order than the network's") as raised:
        getattr(compress, verb)("net.pt2", data="renamed.npz", strict=True, **options)
    assert raised.value.exit_code == 2


def test_results_in_python_hold_the_doubt(place: Path) -> None:
    quantized = compress.quantize("net.pt2", data="renamed.npz", out="out.onnx")
    assert sum(DOUBT in note for note in quantized.notes) == 1
    pruned = compress.prune("net.pt2", data="renamed.npz", ratio=0.2, threads=1, seconds=0.05)
    assert sum(f"warning: {each}".startswith(DOUBT) for each in pruned.warnings) == 1
