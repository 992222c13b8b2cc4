"""Each thing that measurements depend on makes another run, and is never taken over by it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compress.core.progress import Reporter
from compress.data.task import load_task
from compress.hosts import connect
from compress.network.network import load_network
from compress.recipe import Recipe
from compress.search.attempts import Attempts
from compress.search.backends import CompetingBackends
from compress.search.limits import Limits
from compress.search.run_directory import Candidate, RunDirectory
from compress.search.run_key import RunKey
from compress.target.target import load_target
from tests.graphs import classifier, samples
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
    "device": "cuda",
    "machine": {"cpu": "another"},
    "versions": {"onnxruntime": "1.23"},
}


def test_every_part_is_changed_here():
    assert set(CHANGES) == {field.name for field in fields(RunKey)}


FAILED = Candidate(Recipe("fp32"), failure="made up")


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


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Attempts:
    path = tmp_path_factory.mktemp("attempts") / "model.onnx"
    onnx.save(classifier(), path)
    network, target = load_network(path), load_target("cpu")
    task = load_task((samples(40), np.arange(40) % 4)).bind(network.inputs, network.outputs)
    rivals, limits = CompetingBackends(("onnxruntime",)), Limits(1.0)
    return Attempts(network, task, target, connect(target, 0.05), rivals, limits, 0, 1, 0.05, Reporter())


def test_the_same_run_has_the_same_key(attempts: Attempts):
    assert replace(attempts).key() == attempts.key()


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"seed": 1}, "seed"),
        ({"threads": 2}, "threads"),
        ({"threads": None}, "threads"),
        ({"seconds": 0.1}, "seconds"),
        ({"rivals": CompetingBackends(("onnxruntime", "openvino"))}, "backends"),
        ({"rivals": CompetingBackends(("onnxruntime",), ("CUDAExecutionProvider",))}, "providers"),
        ({"target": replace(load_target("cpu"), batch_sizes=(1, 7))}, "target"),
        ({"limits": Limits(1.0, objective="throughput")}, "decisive"),
    ],
)
def test_what_the_user_changes_is_in_the_key(attempts: Attempts, changed: dict[str, Any], part: str):
    before, after = attempts.key().to_dict(), replace(attempts, **changed).key().to_dict()
    assert {name for name, value in after.items() if value != before[name]} == {part}


def test_limits_that_only_choose_among_what_was_measured_are_not(attempts: Attempts):
    assert replace(attempts, limits=Limits(0.5, max_size_mb=3.0)).key() == attempts.key()
