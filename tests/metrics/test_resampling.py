"""The spread of a difference of two networks, paired by sample: the values' against that of drawing samples anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress.metrics import load_metric
from compress.metrics.detections import Detections
from compress.metrics.mean_precision import match
from tests.metrics.left_out import rows_of

Array = np.ndarray[Any, Any]
SAMPLES, RESAMPLES = 150, 200


def _labels(random: np.random.Generator, several: bool) -> tuple[Array, Array, Array]:
    labels = random.integers(0, 2 if several else 4, (SAMPLES, 4) if several else SAMPLES)
    true = labels if several else np.eye(4)[labels]
    first = true + random.normal(0, 0.7, true.shape)
    return first, first + random.normal(0, 0.4, true.shape), labels


def _maps(random: np.random.Generator) -> tuple[Array, Array, Array]:
    labels = random.integers(0, 4, (SAMPLES, 4, 4)).repeat(3, axis=1).repeat(3, axis=2)
    hard = random.uniform(0, 0.5, (SAMPLES, 1, 1))
    wrong = [random.uniform(size=labels.shape) < share * hard for share in (1.0, 0.3)]
    first = np.where(wrong[0], random.integers(0, 4, labels.shape), labels)
    return first, np.where(wrong[1], random.integers(0, 4, labels.shape), first), labels


def _found(random: np.random.Generator, objects: Array, noise: float) -> Detections:
    kept = random.uniform(size=len(objects)) < 0.9
    moved = objects[kept, :4] + random.normal(0, noise, (int(kept.sum()), 4))
    extra = random.uniform(0, 60, (int(random.integers(0, 4)), 2))
    boxes = np.vstack([moved, np.hstack([extra, extra + 25])])
    scores = np.concatenate([random.uniform(0.3, 1, len(moved)), random.uniform(0, 0.7, len(extra))])
    order = np.argsort(-scores, kind="stable")
    labels = np.concatenate([objects[kept, 4], random.integers(0, 3, len(extra))]).astype(np.int64)
    return Detections(boxes[order], scores[order], labels[order])


def _boxes(random: np.random.Generator) -> tuple[list[Any], list[Any]]:
    rows: tuple[list[Any], list[Any]] = [], []
    for _ in range(SAMPLES):
        corner = random.uniform(0, 60, (int(random.integers(1, 5)), 2))
        sides = random.uniform(10, 40, corner.shape)
        objects = np.column_stack([corner, corner + sides, random.integers(0, 3, len(corner))])
        for part, noise in zip(rows, (1.5, 2.0), strict=True):
            part.append(match(_found(random, objects, noise), objects))
    return rows


@pytest.mark.parametrize("name", ["miou", "f1:threshold=0.5", "f1-macro", "auc", "spearman", "map"])
def test_the_spread_is_that_of_a_paired_bootstrap(name: str) -> None:
    random = np.random.default_rng(1)
    metric = load_metric(name)
    if name == "map":
        ours, theirs = _boxes(random)
    elif name == "spearman":
        wanted = random.normal(size=SAMPLES)
        first = wanted + random.normal(size=SAMPLES)
        outputs = first, first + random.normal(0, 0.5, SAMPLES)
        ours, theirs = (rows_of(metric, each, wanted) for each in outputs)
    else:
        first, second, labels = _maps(random) if name == "miou" else _labels(random, name.startswith("f1:"))
        ours, theirs = (rows_of(metric, each, labels) for each in (first, second))
    difference = metric.values(ours) - metric.values(theirs)
    drawn = []
    for _ in range(RESAMPLES):
        places = random.integers(0, SAMPLES, SAMPLES)
        figures = [metric.values([rows[place] for place in places]).mean() for rows in (ours, theirs)]
        drawn.append(figures[0] - figures[1])
    error = difference.std(ddof=1) / np.sqrt(SAMPLES)
    assert error == pytest.approx(np.std(drawn), rel=0.2)  # 200 resamples know it to 5 %
