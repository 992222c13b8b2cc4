"""Correctness of outputs, by the labels: for each sample one figure that decides, and where it helps a second one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.judging import tones
from benchmarks.studies.judging.data import Array

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Correctness of one set of outputs, by the labels.

    Attributes:
        metric: A figure for each sample.
        metric_2: Another one; None where there is none.
        whole: Figures of the whole set that are no means over samples, by name.
    """

    metric: Values
    metric_2: Values | None
    whole: dict[str, float]


@dataclass(frozen=True)
class Truth:
    """A true metric.

    Attributes:
        name: Name of ``metric``.
        name_2: Name of ``metric_2``; empty where there is none.
        find: Function of outputs, labels and the original's outputs (which embeddings are also looked up in).
        lower_is_better: Whether the metric is an error; the drop of errors is in percent of the original's mean, all
            others' in percentage points.
    """

    name: str
    name_2: str
    find: Callable[[Array, Array, Array], Found]
    lower_is_better: bool = False

    def drop(self, original: Values, build: Values) -> float:
        """Return by how many points a build is worse."""
        if self.lower_is_better:
            return float(100 * (build.mean() - original.mean()) / original.mean())
        return float(100 * (original.mean() - build.mean()))


def _top_1(y: Array, labels: Array, original: Array) -> Found:
    return Found((y.argmax(1) == labels).astype(np.float64), None, {})


def _tokens(y: Array, labels: Array, original: Array) -> Found:
    right = (y.argmax(2) == labels).mean(1, dtype=np.float64)
    scores = y.astype(np.float32)
    scores = scores - scores.max(2, keepdims=True)
    own = np.take_along_axis(scores, labels[:, :, None], 2)[:, :, 0]
    surprise = (np.log(np.exp(scores).sum(2)) - own).mean(1, dtype=np.float64)
    return Found(right, surprise, {"perplexity": float(np.exp(surprise.mean()))})


def _pitch(y: Array, labels: Array, original: Array) -> Found:
    error = np.abs(tones.pitch(y) - labels)
    return Found((error <= tones.RIGHT).astype(np.float64), error, {})


def _map(y: Array, labels: Array, original: Array) -> Found:
    told = y.argmax(1)
    classes = y.shape[1]
    right = (told == labels).mean((1, 2), dtype=np.float64)
    both, either = (np.zeros((len(y), classes)) for _ in range(2))
    for index in range(classes):
        ours, theirs = told == index, labels == index
        both[:, index], either[:, index] = (ours & theirs).sum((1, 2)), (ours | theirs).sum((1, 2))
    overlap = both.sum(0) / np.maximum(either.sum(0), 1)
    each = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return Found(right, each.sum(1) / (either > 0).sum(1), {"miou": float(overlap.mean())})


def _binary_map(y: Array, labels: Array, original: Array) -> Found:
    ours, theirs = y[:, 0] > 0.5, labels > 0
    both, either = (ours & theirs).sum((1, 2)), (ours | theirs).sum((1, 2))
    overlap = np.divide(both, either, out=np.ones(len(y)), where=either > 0)
    right = (ours == theirs).mean((1, 2), dtype=np.float64)
    return Found(overlap, right, {"iou": float(both.sum() / max(1, either.sum()))})


def _f1(y: Array, labels: Array, original: Array) -> Found:
    ours, theirs = y > 0.5, labels > 0
    both, all_of = (ours & theirs).sum(1), ours.sum(1) + theirs.sum(1)
    each = np.divide(2 * both, all_of, out=np.ones(len(y)), where=all_of > 0)
    return Found(
        each, (ours == theirs).mean(1, dtype=np.float64), {"f1": float(2 * both.sum() / all_of.sum())}
    )


def _retrieval(y: Array, labels: Array, original: Array) -> Found:
    own = labels[_nearest(y, y)] == labels
    mixed = labels[_nearest(y, original)] == labels
    return Found(own.astype(np.float64), mixed.astype(np.float64), {})


def _nearest(queries: Array, gallery: Array) -> NDArray[np.int64]:
    """The nearest other sample, by distance; for vectors of length 1 that is the one of the largest cosine."""
    ours, theirs = queries.astype(np.float32), gallery.astype(np.float32)
    distances = (theirs**2).sum(1)[None, :] - 2 * ours @ theirs.T
    np.fill_diagonal(distances, np.inf)
    return np.asarray(distances.argmin(1), np.int64)


def _error(y: Array, labels: Array, original: Array) -> Found:
    return Found(np.abs(y.astype(np.float64) - labels).mean(1), None, {})


TOP_1 = Truth("top-1", "", _top_1)
TOKENS = Truth("token accuracy", "negative log-likelihood per token", _tokens)
PITCH = Truth("pitch within 50 cents", "error in cents", _pitch)
MAP = Truth("pixel accuracy", "mean IoU of the classes in the scene", _map)
BINARY_MAP = Truth("IoU of the scene", "pixel accuracy", _binary_map)
F1 = Truth("F1 of the scene at 0.5", "share of right labels", _f1)
RETRIEVAL = Truth(
    "nearest neighbour of the same class, all embedded by the build",
    "the same among the original's",
    _retrieval,
)
ERROR = Truth("mean absolute error", "", _error, lower_is_better=True)
