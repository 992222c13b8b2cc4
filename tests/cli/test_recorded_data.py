"""What a build was told of its images is told once: profile, gate and predict read it in the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from compress.cli import main

ORDER = ["eel", "dog", "cat"]  # the network's, and not the alphabet's


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three gray levels, a network that tells them apart, and a bundle of it."""
    folder = tmp_path_factory.mktemp("recorded")
    random = np.random.default_rng(0)
    for number, name in enumerate(ORDER):
        (folder / "val" / name).mkdir(parents=True)
        for each in range(20):
            pixels = np.clip(random.normal(60 + 70 * number, 8, (12, 10, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "val" / name / f"{each}.png")
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    with torch.no_grad():
        for parameter in network[0].parameters():
            parameter.zero_()
        network[0].weight[:, :, 1, 1] = 1 / 3
        network[3].weight[:] = torch.tensor([[-1.0], [0.0], [1.0]]) * 4
        network[3].bias[:] = torch.tensor([0.0, 4.0, 0.0])
    program = torch.export.export(
        network.eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    torch.export.save(program, folder / "net.pt2")
    (folder / "names.txt").write_text("\n".join(ORDER))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        flags = [
            "--classes",
            "names.txt",
            "--image-size",
            "8",
            "--image-mean",
            ".5,.5,.5",
            "--image-std",
            ".2,.2,.2",
        ]
        fast = ["--seconds", "0.05", "--time-budget", "1s", "--threads", "1"]
        assert main(["optimize", "net.pt2", "--data", "val", "--strict", *flags, *fast]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def test_the_bundle_names_its_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(Path("build/manifest.json").read_text())["data"]["classes"] == ORDER
    assert main(["predict", "build", "val/eel/3.png", "--json"]) == 0
    assert '"eel"' in capsys.readouterr().out


def test_profile_without_flags_measures_the_same_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    built = json.loads(Path("build/profile.json").read_text())["accuracy"]
    assert main(["profile", "build", "--data", "val", "--seconds", "0.05", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["accuracy"]
    assert measured["mean"] == built["mean"] == 1.0
    assert measured["data_sha256"] == built["data_sha256"]


def test_another_order_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.txt").write_text("cat\ndog\neel")
    for command in (["profile", "build"], ["gate", "build", "--baseline", "build"]):
        assert main([*command, "--data", "val", "--classes", "other.txt"]) == 2
        told = capsys.readouterr().err
        assert "the order of the classes that the build records" in told
        assert len(told.strip().splitlines()) == 1


def test_a_gate_without_flags_judges_the_same_samples(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["gate", "build", "--baseline", "build", "--data", "val", "--json"])
    checks = {each["name"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert code in (0, 3)  # so few samples may leave it undecided; by chance alone it would be an error
    assert checks["accuracy"]["verdict"] != "fail"
