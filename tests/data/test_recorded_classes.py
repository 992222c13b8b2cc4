"""Images are numbered and prepared as the build that was measured on them records it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.data.class_order import disagreement, with_classes
from compress.data.evaluation import MeasuredSamples, load_evaluation
from compress.data.task import load_task
from compress.errors import DataError
from compress.gate.groups import load_task_and_groups

ORDER = ("dog", "cat", "eel")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(sorted(ORDER)):
        (tmp_path / "val" / name).mkdir(parents=True)
        for each in range(4):
            pixels = np.full((4, 6, 3), 40 * number + each, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{each}.png")
    return tmp_path / "val"


def recorded(folder: Path, order: Any = ORDER, **image_options: Any) -> MeasuredSamples:
    """What the manifest of a build holds that was made with these flags."""
    task = load_task(folder, image_options=with_classes(image_options, order), calibration_samples=2)
    data = {**task.provenance, "classes": list(task.classes)}
    return MeasuredSamples.of_bundle(task.evaluation.sha256, {"data": data})


def evaluated(folder: Path, like: MeasuredSamples, options: Any = None) -> Any:
    return load_evaluation(folder, [like], like=like, image_options=options)[0]


def test_classes_are_numbered_as_the_build_has_them(folder: Path) -> None:
    task = evaluated(folder, recorded(folder))
    assert task.classes == ORDER
    alphabetical, _ = load_evaluation(folder)
    assert alphabetical.classes == ("cat", "dog", "eel")
    names = {task.classes[label] for label in task.evaluation.labels}
    assert names <= set(ORDER)
    told, _ = load_evaluation(folder, image_options=with_classes(None, ORDER))
    assert recorded(folder).classes == told.classes


def test_the_measured_samples_are_found_again_without_a_flag(folder: Path) -> None:
    like = recorded(folder, size=[2, 2], mean=[0.5] * 3)
    assert evaluated(folder, like).evaluation.sha256 == like.data_sha256
    without, _ = load_evaluation(folder, [like])
    assert without.evaluation.sha256 != like.data_sha256


def test_a_class_without_a_folder_changes_no_number(folder: Path) -> None:
    like = recorded(folder)
    for each in (folder / "cat").iterdir():
        each.unlink()
    (folder / "cat").rmdir()
    task = evaluated(folder, like)
    assert task.classes == ORDER
    assert sorted(set(task.evaluation.labels.tolist())) == [0, 2]


def test_a_folder_of_no_class_of_the_build_is_refused(folder: Path) -> None:
    like = recorded(folder)
    (folder / "eel").rename(folder / "fox")
    with pytest.raises(DataError, match="names of the 3 classes"):
        evaluated(folder, like)


@pytest.mark.parametrize("where", ["flag", "file"])
def test_another_order_is_refused_in_one_line(folder: Path, where: str) -> None:
    like, options = recorded(folder), None
    if where == "flag":
        options = with_classes(None, ["cat", "dog", "eel"])
    else:
        (folder / "compress-data.toml").write_text('classes = ["cat", "dog", "eel"]\n')
    with pytest.raises(
        DataError, match="the build records, where 'cat' is class 1; found 'cat' as class 0"
    ) as caught:
        evaluated(folder, like, options)
    assert "\n" not in str(caught.value)


def test_the_same_order_may_be_told_again(folder: Path) -> None:
    assert evaluated(folder, recorded(folder), with_classes(None, ORDER)).classes == ORDER


def test_further_names_of_a_class_are_no_other_order() -> None:
    recorded_names = [("n1",), ("n2",)]
    assert disagreement([("n1", "cat"), ("n2", "dog")], recorded_names) is None
    assert disagreement([("cat", "n1"), ("dog", "n2")], recorded_names) is None
    assert disagreement([("dog", "n2"), ("cat", "n1")], recorded_names) == ("n2", 0, 1)
    assert disagreement([("a", "both"), ("b", "both")], [("both",), ("a",)]) == ("a", 0, 1)


def test_flags_and_the_folder_win_over_the_preparation_of_the_build(folder: Path) -> None:
    like = recorded(folder, size=[2, 2])
    shape = lambda task: next(iter(task.evaluation.batches(1))).inputs["x"].shape  # noqa: E731
    assert shape(evaluated(folder, like)) == (1, 3, 2, 2)
    assert shape(evaluated(folder, like, {"size": [3, 3]})) == (1, 3, 3, 3)
    (folder / "compress-data.toml").write_text("size = [5, 5]\n")
    assert shape(evaluated(folder, like)) == (1, 3, 5, 5)


@pytest.mark.parametrize("classes", [None, "cat", [], ["a", "a"], [1, 2], {"a": 1}])
def test_a_record_that_names_no_classes_is_none(classes: Any) -> None:
    assert MeasuredSamples.of_bundle("0" * 64, {"data": {"classes": classes}}).classes is None


# --- the two sides of a gate --------------------------------------------------------------------------------


def side(name: str, measured: MeasuredSamples | None) -> Any:
    return SimpleNamespace(name=name, measured=measured, states={})


def test_the_baseline_decides_and_not_the_candidate(folder: Path) -> None:
    baseline, candidate = recorded(folder, size=[2, 2]), replace(recorded(folder, size=[3, 3]), classes=None)
    task, _ = load_task_and_groups(folder, subjects=(side("main", baseline), side("build", candidate)))
    assert next(iter(task.evaluation.batches(1))).inputs["x"].shape == (1, 3, 2, 2)
    assert task.classes == ORDER
    task, _ = load_task_and_groups(folder, subjects=(side("main.onnx", None), side("build", baseline)))
    assert task.classes == tuple(sorted(ORDER))  # what comes with the change decides nothing


def test_builds_of_two_orders_are_not_compared(folder: Path) -> None:
    other = replace(recorded(folder), classes=("cat", "dog", "eel"))
    with pytest.raises(DataError, match="'cat' is class 1 in main; found 'cat' as class 0 in build"):
        load_task_and_groups(folder, subjects=(side("main", recorded(folder)), side("build", other)))
