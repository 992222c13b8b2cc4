"""COCO's JSON and the folders around it, whole and damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.data import Split, open_data
from compress.data import coco as coco_module
from compress.data.box_images import BoxSplit
from compress.errors import DataError

Image = pytest.importorskip("PIL.Image")

Array = np.ndarray[Any, Any]

CONTENT: dict[str, Any] = {
    "images": [
        {"id": 9, "file_name": "b.png", "width": 20, "height": 10},
        {"id": 4, "file_name": "a.png", "width": 10, "height": 10},
        {"id": 5, "file_name": "c.png", "width": 10, "height": 10},
    ],
    "categories": [{"id": 7, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 3, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 4, "category_id": 7, "bbox": [1, 2, 4, 5], "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 20, 10], "iscrowd": 1},
        {"id": 3, "image_id": 9, "category_id": 3, "bbox": [10, 5, 4, 4]},
    ],
}


def _write(
    root: Path, content: Any = CONTENT, images: str = "images", file: str = "annotations/instances_val.json"
) -> Path:
    (root / images).mkdir(parents=True, exist_ok=True)
    for entry in CONTENT["images"]:
        pixels = np.random.default_rng(entry["id"]).integers(
            0, 255, (entry["height"], entry["width"], 3), np.uint8
        )
        Image.fromarray(pixels).save(root / images / entry["file_name"])
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(CONTENT))
    change(content)
    return content


def _boxes(split: Split) -> list[list[list[float]]]:
    return [row.tolist() for batch in split.batches(2) if batch.targets is not None for row in batch.targets]


def test_boxes_are_in_pixels_of_the_input(tmp_path: Path) -> None:
    _write(tmp_path)
    split = open_data(tmp_path, {"size": [20, 20]})
    assert isinstance(split, BoxSplit)
    assert (len(split), split.classes, split.labelled) == (3, ("person", "cat", "dog"), True)
    assert _boxes(split) == [
        [[0, 0, 20, 20, 0, 1], [10, 10, 14, 18, 1, 0]],
        [[2, 4, 10, 14, 2, 0]],
        [],
    ]
    assert next(split.batches(2)).inputs["x"].shape == (2, 3, 20, 20)
    assert split.origin["kind"] == "coco"
    assert split.origin["boxes"] == 3


def test_a_letterbox_takes_the_boxes_along(tmp_path: Path) -> None:
    _write(tmp_path)
    split = open_data(tmp_path, {"size": [20, 20], "resize": "letterbox"})
    assert _boxes(split)[0] == [[0, 5, 20, 15, 0, 1], [10, 10, 14, 14, 1, 0]]


@pytest.mark.parametrize(
    "images, file, given",
    [
        ("images", "annotations/instances_val.json", "annotations/instances_val.json"),
        ("val2017", "annotations/instances_val2017.json", "."),
        ("images/val2017", "annotations/instances_val2017.json", "."),
        ("val2017", "instances_val2017.json", "instances_val2017.json"),
        (".", "val.json", "val.json"),
        ("data", "labels.json", "labels.json"),
    ],
)
def test_images_are_looked_for(tmp_path: Path, images: str, file: str, given: str) -> None:
    _write(tmp_path, images=images, file=file)
    assert len(_boxes(open_data(tmp_path / given, {"size": [8, 8]}))) == 3


def test_the_table_tells_where_and_which(tmp_path: Path) -> None:
    _write(tmp_path, images="photos/all")
    _write(
        tmp_path,
        _changed(lambda content: content["images"].pop()),
        images="photos/all",
        file="annotations/instances_b.json",
    )
    with pytest.raises(DataError, match="one file of annotations"):
        open_data(tmp_path)
    (tmp_path / "compress-data.toml").write_text(
        'size = [20, 20]\n[annotations]\nfile = "annotations/instances_b.json"\nimages = "photos/all"\n'
        'categories = [7, 3]\n[detections]\nform = "cxcywh"\n'
    )
    split = open_data(tmp_path)
    assert (len(split), split.classes) == (2, ("dog", "cat"))
    assert _boxes(split) == [[[10, 10, 14, 18, 1, 0]], [[2, 4, 10, 14, 0, 0]]]
    assert split.origin["boxes_of_other_categories"] == 1
    assert split.detections == {"form": "cxcywh"}


def test_boxes_are_cut_at_the_edge_and_those_without_area_are_counted(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = [-3, 5, 30, 30]
        content["annotations"][2]["bbox"] = [3, 5, 0, 4]

    _write(tmp_path, _changed(change))
    split = open_data(tmp_path, {"size": [10, 10]})
    assert _boxes(split) == [[[0, 0, 10, 10, 0, 1]], [[0, 5, 10, 10, 2, 0]], []]
    assert split.origin["boxes_without_area"] == 1


def test_a_subset_and_the_hash(tmp_path: Path) -> None:
    path = _write(tmp_path)
    split = open_data(tmp_path, {"size": [20, 20]})
    digest = split.sha256
    subset = split.take([1, 0])
    assert _boxes(subset) == [_boxes(split)[1], _boxes(split)[0]]
    assert subset.classes == split.classes
    assert subset.sha256 != digest
    assert open_data(tmp_path, {"size": [20, 20]}).sha256 == digest
    path.write_text(json.dumps(_changed(lambda content: content["annotations"][0]["bbox"].__setitem__(0, 2))))
    assert open_data(tmp_path, {"size": [20, 20]}).sha256 != digest


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.pop("images"), "COCO's JSON with images, categories and annotations"),
        (lambda c: c.pop("annotations"), "a list of annotations"),
        (lambda c: c.pop("categories"), "a list of categories"),
        (
            lambda c: c["categories"].clear(),
            "categories; found none",
        ),
        (lambda c: c["images"].clear(), "images; found an empty list"),
        (lambda c: c["images"][0].pop("width"), "width and height of each image"),
        (lambda c: c["images"][0].update(height=0), "width and height of each image"),
        (lambda c: c["images"][0].update(id="x"), "a whole number as id"),
        (lambda c: c["images"][0].update(file_name=3), "file_name as a text"),
        (lambda c: c["images"][1].update(id=9), "each id of images once; found 9 twice"),
        (
            lambda c: c["images"][1].update(file_name="b.png"),
            "each image file once; found 'b.png' as 9 and 4",
        ),
        (
            lambda c: c["images"][1].update(file_name="gone.png"),
            "every image that .* names; found no .*gone.png",
        ),
        (lambda c: c["images"][0].update(file_name="../../b.png"), "names of files below"),
        (lambda c: c["images"][0].update(file_name="/etc/passwd"), "names of files below"),
        (lambda c: c["categories"][0].update(id=1), "each id of categories once"),
        (lambda c: c["annotations"][0].update(image_id=77), "image_id; found 77, annotation 0"),
        (lambda c: c["annotations"][0].update(category_id=2), "category_id; found 2, annotation 0"),
        (lambda c: c["annotations"][1].update(id=1), "each annotation id once"),
        (lambda c: c["annotations"].append(3), "an object for each annotation"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "bbox as .x, y, width, height."),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), "bbox as .x, y, width, height."),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, float("inf"), 4]), "bbox as .x, y, width, height."),
        (lambda c: c["annotations"][0].update(bbox=[30, 2, 3, 4]), "boxes inside the image of 10x10 pixels"),
    ],
)
def test_damage_is_told_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = _write(tmp_path, _changed(change))
    with pytest.raises(DataError, match=message) as caught:
        open_data(path, {"size": [8, 8]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[1, 2]", "{}", "[" * 100_000, '{"images": 3}'])
def test_what_is_no_coco_is_told(tmp_path: Path, content: str) -> None:
    path = _write(tmp_path, content)
    with pytest.raises(DataError, match=r"a whole JSON file|COCO's JSON"):
        open_data(path)


def test_too_large_a_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path)
    monkeypatch.setattr(coco_module, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="larger than 0 MB"):
        open_data(path)


def test_images_that_are_nowhere_are_told(tmp_path: Path) -> None:
    path = _write(tmp_path, images="elsewhere")
    with pytest.raises(DataError, match=r"'b\.png' of .* in one of .*set images"):
        open_data(path)


def test_another_image_than_was_annotated_is_told(tmp_path: Path) -> None:
    _write(tmp_path, _changed(lambda content: content["images"][0].update(width=10, height=20)))
    split = open_data(tmp_path, {"size": [8, 8]})
    with pytest.raises(DataError, match=r"an image of 10x20 pixels, as its annotations say; found 20x10"):
        list(split.batches(3))


@pytest.mark.parametrize(
    "toml, message",
    [
        ("[annotations]\ncategories = [7, 7]", "each category once"),
        ("[annotations]\ncategories = [8]", "category ids that .* has; found 8"),
        ('[annotations]\nimage = "x"', "did you mean images"),
        ('[annotations]\nimages = "../x"', "names of files below"),
        ("annotations = 3", r"a table \[annotations\]"),
        ("detections = 3", r"a table \[detections\]"),
        ("[detections]\nmns = false", "did you mean nms"),
    ],
)
def test_wrong_tables_are_told(tmp_path: Path, toml: str, message: str) -> None:
    _write(tmp_path)
    (tmp_path / "compress-data.toml").write_text(toml)
    with pytest.raises(DataError, match=message):
        open_data(tmp_path, {"size": [8, 8]})


@pytest.mark.parametrize("name", ["x" * 5000, "a/" + "é" * 200, "\ud800.png"])
def test_names_that_no_file_can_have_are_told(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path)
    data = json.loads(path.read_text())
    data["images"][0]["file_name"] = name
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="names of files below"):
        open_data(path)
