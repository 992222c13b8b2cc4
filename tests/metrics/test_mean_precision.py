"""map and map-50, held against pycocotools; the influence of an image."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from compress.core.tensor_spec import TensorSpec
from compress.data import DetectionOptions
from compress.data.boxes import ragged
from compress.errors import MetricError, UnavailableError
from compress.metrics import load_metric
from compress.metrics.detections import Detections
from compress.metrics.mean_precision import ImageMatches, Precision, match
from tests.metrics.left_out import figure

Array = np.ndarray[Any, Any]


def _scene(random: np.random.Generator, classes: int, crowds: bool, scores: int) -> tuple[Array, Detections]:
    """Objects of an image, and detections: objects moved a little, some lost, some of a wrong class, some invented."""
    count = int(random.integers(0, 6))
    corner, sides = random.integers(0, 60, (count, 2)), random.integers(6, 40, (count, 2))
    labels = random.integers(0, classes, count)
    crowd = (random.uniform(size=count) < 0.2) & crowds
    boxes = np.column_stack([corner, corner + sides, labels, crowd]).astype(np.float64)
    kept = random.uniform(size=count) < 0.8
    moved = boxes[kept, :4] + random.normal(0, 2, (int(kept.sum()), 4))
    extra = random.integers(0, 50, (int(random.integers(0, 5)), 2)).astype(float)
    found = np.vstack([moved, np.column_stack([extra, extra + 25])])
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    numbers = np.concatenate([labels[kept], random.integers(0, classes, len(extra))])
    strength = random.integers(1, scores, len(found)) / scores  # few values: some are equal
    order = np.argsort(-strength, kind="stable")
    return boxes, Detections(found[order], strength[order], numbers[order].astype(np.int64))


def _scenes(
    seed: int, images: int, classes: int, crowds: bool = True, scores: int = 30
) -> list[tuple[Array, Detections]]:
    random = np.random.default_rng(seed)
    return [_scene(random, classes, crowds, scores) for _ in range(images)]


def _coco(scenes: list[tuple[Array, Detections]], classes: int) -> Any:
    """pycocotools' own figures: mean over thresholds, at 0.5, at 0.75."""
    images = [{"id": number} for number in range(1, len(scenes) + 1)]
    objects, found = [], []
    for number, (boxes, detections) in enumerate(scenes, start=1):
        for box in boxes:
            sides = (box[2:4] - box[:2]).tolist()
            entry = {"image_id": number, "category_id": int(box[4]), "bbox": [*box[:2].tolist(), *sides]}
            objects.append(
                {**entry, "area": sides[0] * sides[1], "iscrowd": int(box[5]), "id": len(objects) + 1}
            )
        for each, score, label in zip(*detections, strict=True):
            sides = (each[2:] - each[:2]).tolist()
            found.append(
                {
                    "image_id": number,
                    "category_id": int(label),
                    "bbox": [*each[:2].tolist(), *sides],
                    "score": score,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": images,
            "annotations": objects,
            "categories": [{"id": c} for c in range(classes)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3]


def _rows(scenes: list[tuple[Array, Detections]]) -> list[ImageMatches]:
    return [match(found, boxes) for boxes, found in scenes]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 4),
    images=st.integers(2, 25),
    scores=st.sampled_from([4, 1000]),
)
def test_pycocotools_says_the_same(seed: int, classes: int, images: int, scores: int) -> None:
    scenes = _scenes(seed, images, classes, scores=scores)
    if not any((boxes[:, 5] == 0).any() for boxes, _ in scenes) or not any(
        len(found.scores) for _, found in scenes
    ):
        return
    metric, rows = load_metric("map"), _rows(scenes)
    stats = _coco(scenes, classes)
    assert figure(metric, rows) == pytest.approx(stats[0], abs=1e-6)
    assert figure(load_metric("map-50"), rows) == pytest.approx(stats[1], abs=1e-6)
    assert metric.beside is not None
    assert metric.beside(rows) == pytest.approx({"map-50": stats[1], "map-75": stats[2]}, abs=1e-6)


def test_more_than_a_hundred_of_a_class_do_not_count() -> None:
    places = np.arange(150.0)[:, None] * 10
    boxes = np.hstack([places, places, places + 9, places + 9, np.zeros((150, 2))])
    scene = boxes, Detections(boxes[:, :4], np.linspace(1, 0.5, 150), np.zeros(150, np.int64))
    assert figure(load_metric("map"), _rows([scene])) == pytest.approx(_coco([scene], 1)[0], abs=1e-6)
    assert figure(load_metric("map"), _rows([scene])) == pytest.approx(67 / 101, abs=1e-6)


def _weighted_area(rows: list[ImageMatches], weights: Array) -> float:
    """Mean over classes and thresholds of the area under recall and highest precision, images weighted; slow."""
    areas = []
    for number in sorted({number for row in rows for number in row}):
        here = [(row[number], weight) for row, weight in zip(rows, weights, strict=True) if number in row]
        total = sum(each.objects * weight for each, weight in here)
        if not any(each.objects for each, _ in here):
            continue
        for threshold in range(10):
            entries = [
                (score, bool(each.matched[threshold, place]), weight)
                for each, weight in here
                for place, score in enumerate(each.scores)
                if not each.ignored[threshold, place]
            ]
            entries.sort(key=lambda entry: -entry[0])
            hits = np.cumsum([weight * hit for _, hit, weight in entries])
            counts = np.cumsum([weight for _, _, weight in entries])
            precision = hits / counts if len(entries) else np.zeros(0)
            areas.append(
                sum(weight * precision[place:].max() for place, (_, hit, weight) in enumerate(entries) if hit)
                / total
            )
    return float(np.mean(areas))


def test_the_influence_is_the_derivative_by_the_images_weight() -> None:
    """Scores all differ and no two precisions are equal where it matters, so that the area is smooth."""
    rows = _rows(_scenes(3, 12, 2, scores=10**6))
    precision = Precision.of(rows, slice(None))
    assert precision is not None
    influence = precision.influence.mean(axis=0)
    assert influence.sum() == pytest.approx(0, abs=1e-9)
    step = 1e-6
    for image in range(12):
        more, less = np.ones(12), np.ones(12)
        more[image] += step
        less[image] -= step
        slope = (_weighted_area(rows, more) - _weighted_area(rows, less)) / (2 * step)
        assert influence[image] / 12 == pytest.approx(slope, abs=2e-3)


def test_values_are_the_figure_and_the_influence() -> None:
    rows = _rows(_scenes(5, 40, 2))
    precision = Precision.of(rows, slice(None))
    assert precision is not None
    assert not precision.alone.any()
    values = load_metric("map").values(rows)
    assert np.allclose(values, precision.average.mean() + precision.influence.mean(axis=0))


def test_an_image_that_alone_has_a_class_carries_all_of_it() -> None:
    rows = _rows(_scenes(6, 30, 1, crowds=False))
    box = np.array([[0.0, 0, 10, 10, 1, 0]])
    rows[4] = {**rows[4], **match(Detections(box[:, :4], np.array([0.9]), np.array([1])), box)}
    values = load_metric("map").values(rows)
    whole, without = figure(load_metric("map"), rows), figure(load_metric("map"), [*rows[:4], *rows[5:]])
    assert values[4] - np.delete(values, 4).mean() == pytest.approx(30 * (whole - without), rel=0.2)


def test_boxes_come_from_outputs_and_targets() -> None:
    """Two images through the metric itself; in the second nothing is found, and nothing is there."""
    metric = load_metric("map", DetectionOptions(score_threshold=0.3))
    specs = [
        TensorSpec("scores", "float32", ("batch", 3, 2)),
        TensorSpec("boxes", "float32", ("batch", 3, 4)),
    ]
    fitted = metric.fitted(specs)
    assert fitted.outputs == ("boxes", "scores")
    boxes = np.array([[[0, 0, 10, 10], [20, 20, 40, 40], [1, 1, 10, 10]]] * 2, np.float32)
    scores = np.array([[[0.9, 0], [0, 0.8], [0.5, 0]], [[0.1, 0.2]] * 3], np.float32)
    objects = np.array([[0.0, 0, 10, 10, 0], [20, 20, 40, 40, 1]])
    rows = fitted.per_sample([scores, boxes], ragged([objects, np.zeros((0, 5))]), None)
    assert figure(fitted, rows) == 1
    dense = np.full((2, 4, 5), -1.0)
    dense[0, :2] = objects
    assert figure(fitted, fitted.per_sample([scores, boxes], dense, None)) == 1
    assert fitted.values(rows).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "targets", [np.zeros((2, 5)), np.zeros((2, 3, 4)), np.zeros(2, int), ragged([np.zeros((1, 4))] * 2)]
)
def test_other_targets_are_told(targets: Array) -> None:
    outputs = [np.full((2, 3, 4), 9.0), np.zeros((2, 3, 2))]
    with pytest.raises(MetricError, match="x1, y1, x2, y2, class, and 1 for a crowd"):
        load_metric("map").per_sample(outputs, targets, None)


def test_images_without_an_object_are_told() -> None:
    metric = load_metric("map")
    row = match(Detections(np.ones((1, 4)), np.ones(1), np.zeros(1, np.int64)), np.zeros((0, 6)))
    with pytest.raises(MetricError, match="images without a single one"):
        metric.values([row, {}])
    assert metric.beside is not None
    assert metric.beside([row, {}]) == {"map-50": 0.0, "map-75": 0.0}


def test_without_pycocotools_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UnavailableError, match=r"pip install -e '.\[detection\]'"):
        load_metric("map").fitted([TensorSpec("out", "float32", (1, 84, 8400))])
