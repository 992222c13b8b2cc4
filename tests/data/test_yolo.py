"""YOLO's folders of images and labels, whole and damaged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.data import Split, open_data
from compress.data.box_images import BoxSplit
from compress.errors import DataError, UnavailableError

Image = pytest.importorskip("PIL.Image")

LABELS = {"a.txt": "2 0.5 0.5 0.2 0.4\n0 .25 .25 .5 .5\n", "b.txt": "", "c.txt": "\n1 0 0 1 0 1 .5 .5 .25\n"}


def _write(root: Path, inner: str = "", labels: dict[str, str] = LABELS, names: str | None = None) -> Path:
    for name in "abcd":
        path = root / "images" / inner / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(ord(name)).integers(0, 255, (10, 20, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    folder = root / "labels" / inner
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in labels.items():
        (folder / name).write_text(text)
    if names is not None:
        (root / "data.yaml").write_text(names)
    return root


def _boxes(split: Split) -> list[Any]:
    return [row for batch in split.batches(3) if batch.targets is not None for row in batch.targets]


def _assert_read(split: Split) -> None:
    assert isinstance(split, BoxSplit)
    assert split.origin["kind"] == "yolo"
    first, *others = _boxes(split)
    assert np.allclose(first, [[16, 12, 24, 28, 2, 0], [0, 0, 20, 20, 0, 0]])
    assert [each.shape for each in others] == [(0, 6), (1, 6), (0, 6)]
    assert np.allclose(others[1], [[0, 0, 40, 20, 1, 0]])  # the box of a polygon


@pytest.mark.parametrize("inner, given", [("", "."), ("", "images"), ("val", "images/val")])
def test_boxes_are_in_pixels_of_the_input(tmp_path: Path, inner: str, given: str) -> None:
    _write(tmp_path, inner)
    (tmp_path / "compress-data.toml").write_text('size = [40, 40]\n[detections]\nform = "xywh"')
    split = open_data(tmp_path / given)
    assert split.classes is None
    assert split.detections == {"form": "xywh"}
    _assert_read(split.take([0, 1, 2, 3]))


@pytest.mark.parametrize("names", ["names: [cat, dog, 3]", "names: {0: cat, 1: dog, 2: '3'}\nnc: 3"])
def test_names_are_read(tmp_path: Path, names: str) -> None:
    assert open_data(_write(tmp_path, names=names)).classes == ("cat", "dog", "3")
    part = _write(tmp_path / "valid")
    assert open_data(part).classes == ("cat", "dog", "3")  # of the folder above


def test_lines_that_repeat_count_once(tmp_path: Path) -> None:
    split = open_data(_write(tmp_path, labels={"a.txt": "0 .5 .5 .2 .2\n" * 3}))
    assert len(_boxes(split)[0]) == 1
    assert split.origin["boxes_repeated"] == 2


def test_a_label_changes_the_hash_of_its_sample_alone(tmp_path: Path) -> None:
    before = open_data(_write(tmp_path)).digests
    (tmp_path / "labels/b.txt").write_text("0 .5 .5 .2 .2")
    after = open_data(tmp_path).digests
    assert [ours == theirs for ours, theirs in zip(before, after, strict=True)] == [True, False, True, True]
    assert before[1].inputs == after[1].inputs


@pytest.mark.parametrize(
    "text, message",
    [
        ("0 .5 .5 .2", "found 3 numbers after the class, line 1 of .*a.txt"),
        ("0 .5 .5 .2 .2 .3", "the points of a polygon"),
        ("\ncat .5 .5 .2 .2", "numbers in a label file; found 'cat .5 .5 .2 .2', line 2"),
        ("0.5 .5 .5 .2 .2", "a class number from 0"),
        ("-1 .5 .5 .2 .2", "a class number from 0"),
        ("nan .5 .5 .2 .2", "a class number from 0"),
        ("0 .5 1.2 .2 .2", "as shares of its size from 0 to 1"),
        ("0 50 50 20 20", "as shares of its size from 0 to 1"),
        ("0 .5 .5 0 .2", "boxes with an area"),
        ("0 .5 nan .2 .2", "boxes with an area"),
        ("0 .5 .5 .5 .6 .5 .7", "boxes with an area"),
    ],
)
def test_damaged_labels_are_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(_write(tmp_path, labels={"a.txt": text}))


def test_a_class_without_a_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"class numbers below 2, the names in data\.yaml; found 2"):
        open_data(_write(tmp_path, names="names: [cat, dog]"))


@pytest.mark.parametrize(
    "names, message",
    [
        ("names: [", "valid YAML"),
        ("nc: 3", "names of the classes in"),
        ("names: {1: cat}", "names of the classes in"),
        ("- 1", "names of the classes in"),
        ("names: !!python/object/apply:os.system ['true']", "valid YAML"),
        ("x" * 1_000_001, "larger than 1 MB"),
    ],
)
def test_wrong_names_are_told(tmp_path: Path, names: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(_write(tmp_path, names=names))


def test_without_pyyaml_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert open_data(_write(tmp_path)).classes is None
    with pytest.raises(UnavailableError, match=r"pip install -e '.\[detection\]'"):
        open_data(_write(tmp_path, names="names: [cat]"))


def test_images_and_labels_belong_together(tmp_path: Path) -> None:
    root = _write(tmp_path / "1", labels={"a.txt": "", "e.txt": ""})
    with pytest.raises(DataError, match=r"an image for every file in .*only e\.txt"):
        open_data(root)
    root = _write(tmp_path / "2", labels={"classes.txt": "cat"})
    with pytest.raises(DataError, match="label files; found none"):
        open_data(root)
    root = _write(tmp_path / "3")
    Image.new("RGB", (4, 4)).save(root / "images/a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png"):
        open_data(root)


def test_empty_folders_and_parts_are_told(tmp_path: Path) -> None:
    _write(tmp_path / "parts", "val")
    with pytest.raises(DataError, match=r"images; found none in .*; give .*images/val"):
        open_data(tmp_path / "parts")
    for name in ("images", "labels"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"images; found none in .*; add images"):
        open_data(tmp_path / "empty")


def test_binary_labels_are_told(tmp_path: Path) -> None:
    root = _write(tmp_path)
    (root / "labels/a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="label files of text"):
        open_data(root)


def test_names_that_repeat_each_other_are_not_written_out(tmp_path: Path) -> None:
    levels = "\n".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 12))
    test_wrong_names_are_told(tmp_path, f"a0: &a0 [x]\n{levels}\nnames: *a11", "names of the classes in")
