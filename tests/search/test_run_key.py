"""Each thing that measurements depend on makes another run, and is never taken over by it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from compress.recipe import Recipe
from compress.search.run_directory import Candidate, RunDirectory
from compress.search.run_key import RunKey
from tests.records import run_key

CHANGES: dict[str, Any] = {
    "network": "abd",
    "inputs": ["x: float32 [batch, 5]"],
    "task": {"evaluation_sha256": "e" * 64},
    "target": {"name": "jetson"},
    "backends": ["onnxruntime", "openvino"],
    "providers": ["CUDAExecutionProvider"],
    "threads": 1,
    "decisive": 32,
    "seconds": 2.5,
    "seed": 1,
    "machine": {"cpu": "another"},
    "versions": {"onnxruntime": "1.23"},
}


def test_every_part_is_changed_here():
    assert set(CHANGES) == {field.name for field in fields(RunKey)}


FAILED = Candidate(Recipe("fp32"), rejected="failed: made up")


@pytest.mark.parametrize("part", CHANGES)
def test_another_value_starts_anew(tmp_path: Path, part: str):
    with RunDirectory(tmp_path / "run", run_key()) as run:
        run.record(FAILED)
    with RunDirectory(tmp_path / "run", run_key(**{part: CHANGES[part]})) as other:
        assert other.kept(FAILED.recipe) is None


def test_the_same_values_go_on(tmp_path: Path):
    with RunDirectory(tmp_path / "run", run_key()) as run:
        run.record(FAILED)
    with RunDirectory(tmp_path / "run", run_key()) as again:
        assert again.kept(FAILED.recipe) == FAILED
