"""The user's own slices: an array beside the samples, in the same file or in one of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compress.data.evaluation import MeasuredSamples
from compress.data.task import load_task
from compress.errors import DataError, MetricError
from compress.gate.groups import load_task_and_groups

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = np.arange(40) % 3
DAY = np.where(np.arange(40) % 2, "night", "day")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.savez(tmp_path / "plain.npz", x=X, y=Y)
    np.savez(tmp_path / "grouped.npz", x=X, y=Y, groups=DAY)
    np.save(tmp_path / "groups.npy", np.arange(40) // 10)
    return tmp_path


def test_data_without_groups_has_none(files: Path) -> None:
    for data in (files / "plain.npz", str(files / "plain.npz"), {"x": X, "y": Y}):
        task, groups = load_task_and_groups(data)
        assert groups is None
        assert len(task.evaluation) == 40


def test_the_array_of_the_file_names_them_and_is_no_input(files: Path) -> None:
    for data in (files / "grouped.npz", str(files / "grouped.npz")):
        task, groups = load_task_and_groups(data)
        assert groups is not None
        assert groups.tolist() == DAY.tolist()
        assert set(task.example()) == {"x"}


def test_a_file_of_its_own_wins_over_the_array(files: Path) -> None:
    for name in ("plain.npz", "grouped.npz"):
        task, groups = load_task_and_groups(files / name, groups=files / "groups.npy")
        assert groups is not None
        assert groups.tolist() == [row // 10 for row in range(40)]
        assert set(task.example()) == {"x"}


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, "U3"])
def test_groups_are_whole_numbers_texts_or_true_and_false(files: Path, dtype: Any) -> None:
    np.save(files / "typed.npy", (np.arange(40) % 2).astype(dtype))
    _, groups = load_task_and_groups(files / "plain.npz", groups=files / "typed.npy")
    assert groups is not None
    assert groups.dtype == np.dtype(dtype)


@pytest.mark.parametrize("groups", [np.zeros(40, np.float32), np.zeros(39, int), np.zeros((40, 1), int)])
def test_other_arrays_are_refused_with_what_they_should_be(files: Path, groups: np.ndarray) -> None:
    np.save(files / "wrong.npy", groups)
    with pytest.raises(DataError, match="groups of 40 samples, an integer or a text for each"):
        load_task_and_groups(files / "plain.npz", groups=files / "wrong.npy")


def test_a_part_of_the_data_has_its_part_of_the_groups(files: Path) -> None:
    """A build that was measured on what calibration left counts on these samples alone."""
    apart = load_task(str(files / "plain.npz"), calibration_samples=8, seed=1).evaluation
    measured = MeasuredSamples(apart.sha256, 8, 1)
    np.save(files / "labels.npy", Y)
    side = SimpleNamespace(name="main", measured=measured, states={})
    task, groups = load_task_and_groups(files / "plain.npz", groups=files / "labels.npy", subjects=[side])  # type: ignore[list-item]
    assert task.evaluation.labels is not None
    assert groups is not None
    assert groups.tolist() == task.evaluation.labels.tolist()
    assert len(groups) == len(apart) < 40


def test_a_subject_with_a_state_is_run_over_streams(files: Path) -> None:
    """Targets of every frame are read where samples are streams."""
    np.savez(files / "streams.npz", x=np.zeros((30, 5, 2), np.float32), y=np.zeros((30, 5), np.int64))
    sides = [
        SimpleNamespace(name=name, measured=None, states=states)
        for name, states in (("a", {}), ("b", {"h": "hn"}))
    ]
    task, _ = load_task_and_groups(files / "streams.npz", subjects=sides)  # type: ignore[arg-type]
    assert task.metric.name.startswith("top-1")
    asked, _ = load_task_and_groups(files / "streams.npz", streams=True)
    assert asked.metric.name == task.metric.name


def test_targets_of_every_frame_are_refused_where_samples_are_no_streams(files: Path) -> None:
    np.savez(files / "frames.npz", x=np.zeros((30, 5, 2), np.float32), y=np.zeros((30, 5), np.int64))
    with pytest.raises(MetricError):
        load_task_and_groups(files / "frames.npz")


def test_a_task_has_a_group_for_each_of_its_evaluation_samples(files: Path) -> None:
    known = load_task({"x": X, "y": Y}, calibration_data={"x": X + 10})
    task, groups = load_task_and_groups(known, groups=files / "groups.npy")
    assert len(task.evaluation) == 40
    assert groups is not None
    assert groups.tolist() == [row // 10 for row in range(40)]


def test_a_file_that_is_none_is_told_by_the_reader_of_data(files: Path) -> None:
    (files / "short.npz").write_bytes(b"P")
    for name in ("missing.npz", "short.npz", "a\0b"):
        with pytest.raises(DataError):
            load_task_and_groups(str(files / name))
