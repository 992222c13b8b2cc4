"""The choice of weights and the order of classes are part of what a run is recognised by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.api.inputs import open_inputs
from compress.api.options import OptimizeOptions
from compress.core.progress import Reporter
from tests.records import run_key

Image = pytest.importorskip("PIL.Image")

FACTORY = "tests.api.test_choices_make_other_runs:make"


def make() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save({"model": make().state_dict(), "model_ema": make().state_dict()}, tmp_path / "last.pt")
    return tmp_path / "last.pt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / "val" / name).mkdir(parents=True)
        for each in range(8):
            pixels = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{each}.png")
    return tmp_path / "val"


def key(checkpoint: Path, folder: Path, **options: Any) -> Any:
    asked = OptimizeOptions.of({"data": str(folder), "factory": FACTORY, **options})
    inputs = open_inputs(checkpoint, asked, Reporter())
    return run_key(network=inputs.network.identity, task=inputs.task.identity)


def test_other_weights_or_another_order_make_another_run(checkpoint: Path, folder: Path) -> None:
    first = key(checkpoint, folder)
    same = key(checkpoint, folder, weights="model", classes=None)
    assert same.to_dict() == first.to_dict()
    for other in ({"weights": "ema"}, {"classes": ["c", "b", "a"]}):
        assert key(checkpoint, folder, **other).to_dict() != first.to_dict()


def test_the_order_may_come_from_a_file(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("c\nb\na\n")
    by_file = key(checkpoint, folder, classes=str(tmp_path / "names.txt"))
    assert by_file.to_dict() == key(checkpoint, folder, classes=["c", "b", "a"]).to_dict()
