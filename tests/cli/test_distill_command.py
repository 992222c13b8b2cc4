"""``compress distill`` on files, in this process and in real ones that are killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import compress
from compress.cli import main
from compress.errors import NetworkError
from compress.network.network import load_network
from compress.network.saving import save_network
from compress.onnx_graph.files import sha256_of
from tests.killing import killed_in_training

STUDENTS = """
from torch import nn

def small():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))

def wide():
    return nn.Linear(6, 5)

def text():
    return "no network"

def fails(width):
    return None

def nothing_finite():
    student = small()
    nn.init.constant_(student[0].weight, float("nan"))
    return student

class Steep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        y = self.layer(x)
        return y + y * y * y * y * y * y * y * y

class Nothing(nn.Module):
    def forward(self, x):
        return x[:, :3]
"""

ARGUMENTS = ["distill", "teacher.pt2", "--data", "val.npz", "--train-data", "train.npz", "--seed", "1"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("distill")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        module[2].weight *= 5  # a teacher that is sure of its answers
    noise = np.random.default_rng(0)
    training, evaluation = (noise.normal(size=(count, 6)).astype(np.float32) for count in (400, 100))
    network = load_network(module, example={"x": training[:2]})
    save_network(network, folder / "teacher.pt2")
    np.savez(folder / "train.npz", x=training)
    with torch.no_grad():
        np.savez(folder / "val.npz", x=evaluation, y=module(torch.from_numpy(evaluation)).argmax(1).numpy())
    (folder / "students.py").write_text(STUDENTS)
    return folder


@pytest.fixture
def place(files, monkeypatch) -> Path:
    monkeypatch.chdir(files)
    for left in files.glob("*student*.pt2*"):
        left.unlink()
    return files


def test_a_student_learns_without_labels_and_takes_the_teacher_s_place(place, capsys):
    settings = ["--epochs", "8", "--batch-size", "20", "--learning-rate", "0.02"]
    assert main([*ARGUMENTS, "--student", "students:small", *settings]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("teacher", "student before", "student after", "parameters", "MACs"))
    assert "held-out loss" in told
    assert {path.name for path in place.glob("*student*")} >= {"student.pt2"}
    assert not (place / "student.pt2.partial").exists()
    student, teacher = (load_network(name) for name in ("student.pt2", "teacher.pt2"))
    assert [spec.name for spec in student.inputs] == [spec.name for spec in teacher.inputs]
    data = np.load("val.npz")
    with torch.no_grad():
        right = student.graph(torch.from_numpy(data["x"])).argmax(1).numpy() == data["y"]
    assert right.mean() > 0.85  # by chance 0.33


def test_a_file_is_trained_on_and_written_as_onnx(place, capsys):
    network = load_network("teacher.pt2")
    noisy = network.with_graph(network.graph)
    with torch.no_grad():
        for value in noisy.graph.parameters():
            value += 0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    save_network(noisy, place / "noisy.pt2")
    options = [
        "--student",
        "noisy.pt2",
        "--out",
        "student.onnx",
        "--epochs",
        "6",
        "--batch-size",
        "20",
        "--json",
    ]
    assert main([*ARGUMENTS, *options]) == 0
    result = json.loads(capsys.readouterr().out)
    teacher, before, after = result["networks"]
    assert [each["name"] for each in result["networks"]] == ["teacher", "student before", "student after"]
    assert after["accuracy"]["drop"]["points"] < before["accuracy"]["drop"]["points"]
    assert teacher["parameters"] == after["parameters"] == 6 * 16 + 16 + 16 * 3 + 3
    assert teacher["macs"] == 6 * 16 + 16 * 3
    assert result["sha256"] == sha256_of(place / "student.onnx")
    session = onnxruntime.InferenceSession("student.onnx")
    assert session.run(None, {session.get_inputs()[0].name: np.ones((3, 6), np.float32)})[0].shape == (3, 3)


def test_a_student_that_is_written_for_its_teacher_s_batch(place):
    class OfThree(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.reshape(3, 6))

    teacher = load_network(OfThree(), example=[np.ones((3, 6), np.float32)])
    save_network(teacher, place / "of_three.onnx")
    options = {"data": "val.npz", "train_data": "train.npz", "epochs": 1, "out": "three-student.pt2"}
    compress.distill("of_three.onnx", student=OfThree(), **options)
    assert load_network("three-student.pt2").inputs[0].shape == (3, 6)
    with pytest.raises(NetworkError, match="on which it fails"):
        compress.distill("teacher.pt2", student=OfThree(), **options)


def test_it_can_be_called_from_python_with_live_modules(place):
    result = compress.distill(
        load_network("teacher.pt2").graph,
        student=nn.Linear(6, 3),
        data="val.npz",
        train_data="train.npz",
        epochs=1,
        out=place / "live-student.pt2",
    )
    assert isinstance(result, compress.DistillResult)
    assert result.report["settings"]["epochs"] == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--student", "students:smal"], "did you mean small"),
        (["--student", "students:wide"], "float32[batch, 3]; found float32[batch, 5]"),
        (["--student", "students:text"], "which returns a str"),
        (["--student", "students:fails"], "give what it needs"),
        (["--student", "students:Nothing"], "weights to train"),
        (["--student", "students:nothing_finite"], "a network of finite weights"),
        (["--student", "missing.pt2"], "no such file"),
        (["--student", "students:small", "--out", "student.bin"], ".pt2 or .onnx"),
        (["--student", "students:small", "--out", "teacher.pt2"], "given as a network"),
        (["--student", "students:small", "--label-weight", "0.5"], "set label_weight = 0"),
        (["--student", "students:small", "--batch-size", "300"], "at least 600 training samples"),
        (["--student", "students:small", "--learning-rate", "-1"], "above 0"),
    ],
)
def test_what_cannot_be_used_is_told_on_one_line(place, capsys, changed, told):
    before = sorted(path.name for path in place.iterdir())
    assert main([*ARGUMENTS, *changed]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in place.iterdir() if path.name != "__pycache__") == [
        name for name in before if name != "__pycache__"
    ]


def test_a_training_that_diverges_says_so(place, capsys):
    options = ["--student", "students:Steep", "--learning-rate", "1e6", "--epochs", "2"]
    assert main([*ARGUMENTS, *options]) == 0
    assert "lower --learning-rate" in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_killed_for_real_goes_on_with_the_same_weights(place):
    settings = ["--student", "students:small", "--epochs", "10", "--batch-size", "8", "--out"]
    killed = [*ARGUMENTS, *settings, "killed-student.pt2"]
    checkpoint = killed_in_training(killed, place, place / "killed-student.pt2.partial")
    interrupted = torch.load(checkpoint)["step"]
    assert 0 < interrupted < 10 * 45
    assert not (place / "killed-student.pt2").exists()
    assert main(killed) == 0
    assert main([*ARGUMENTS, *settings, "whole-student.pt2"]) == 0
    killed, whole = (load_network(f"{name}-student.pt2").graph.state_dict() for name in ("killed", "whole"))
    assert all(torch.equal(value, whole[name]) for name, value in killed.items())
    assert not checkpoint.parent.exists()
