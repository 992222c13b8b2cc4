"""Boxes, four numbers each: their error where the original finds something.

A detector gives a box for every place it looks at, and most of these hold nothing. So a sample's boxes are judged at
the places that the original scores at least half as high as its best one; where no output scores them, at all places.
The error is that of :mod:`compress.metrics.unlabelled.values`, in what the original's boxes vary by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from compress.metrics.metric import Metric
from compress.metrics.unlabelled.rows import Array, Floats, comparable, lost_samples, pair
from compress.metrics.unlabelled.values import ValueRow, value_metric

#: Share of a sample's best score from which on a box counts.
_COUNTS_FROM = 0.5


def box_metric(name: str, index: int, scores: int | None) -> Metric:
    """Judge an output that holds boxes, ``(n, places, 4)``.

    Args:
        name: Name of the output.
        index: Position among the outputs.
        scores: Position of the output that scores the boxes, ``(n, places)`` or ``(n, places, classes)``; None for
            none.
    """
    return replace(value_metric(name, index), per_sample=partial(_rows, name, index, scores))


def _rows(
    name: str,
    index: int,
    scores: int | None,
    outputs: Sequence[Array],
    targets: Array | None,
    reference: Sequence[Array] | None = None,
) -> list[ValueRow]:
    ours, theirs = pair(outputs, reference, index, name)
    counted = _counted(theirs, None if scores is None or reference is None else reference[scores])
    lost = lost_samples(ours, theirs)
    first, second = comparable(ours, theirs)
    rows = []
    for sample in range(len(second)):
        candidate_boxes, original = first[sample][counted[sample]], second[sample][counted[sample]]
        boxes = second[sample].reshape(-1, second.shape[-1])
        variance = float(np.mean(boxes.var(axis=0))) if boxes.size else 0.0
        error = float(np.mean((candidate_boxes - original) ** 2)) if candidate_boxes.size else 0.0
        rows.append(ValueRow(None, None, error, variance, bool(lost[sample])))
    return rows


def _counted(boxes: Array, scores: Array | None) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which places count, bool ``(n, places)``."""
    places = boxes.shape[:2]
    if scores is None or scores.shape[:2] != places or not scores.size:
        return np.ones(places, dtype=bool)
    best = _foreground(np.asarray(scores, dtype=np.float64).reshape(*places, -1))
    return np.asarray(best >= _COUNTS_FROM * best.max(axis=1, keepdims=True))


def _foreground(scores: Floats) -> Floats:
    """Return the best score of each place; of probabilities that sum to 1, without the most frequent class."""
    if scores.shape[-1] > 1 and np.allclose(scores.sum(axis=-1), 1, atol=1e-2):
        background = int(np.bincount(scores.argmax(axis=-1).ravel()).argmax())
        scores = np.delete(scores, background, axis=-1)
    best: Floats = scores.max(axis=-1)
    return best
