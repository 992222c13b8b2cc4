"""Mean average precision of a detector after COCO: ``map`` and ``map-50``.

Of each class and each least intersection over union t, detections of all images are taken from the highest score down.
With N of them so far, of which T match an object that no better one matched, the precision is T / N and the recall T /
G of G objects. The average precision is the mean over the recalls 0, 0.01, … 1 of the highest precision at that recall
or above; ``map`` is its mean over t = 0.50, 0.55, … 0.95 and over the classes that have objects, ``map-50`` at t = 0.50
alone. At most 100 detections of an image and class count, and detections that match a crowd count for nothing: Lin et
al., 'Microsoft COCO: common objects in context', ECCV 2014, and ``pycocotools``, which matches the boxes of each image
here. Ratios of areas do not change where an image is scaled, stretched or padded, so that these are the figures of the
original pixels too.

The influence of an image is the derivative of the area under the curve of recall and highest precision by the image's
weight (see :mod:`compress.metrics.jackknife`). With the weights w, sums over detections d of the weights as T and N,
and e(d) the highest precision from d on, which is reached at l(d) ≥ d ::

    AP = (1 / G) Σ over matching d of w(d) e(d)
    G ∂AP/∂w(i) = Σ over matching d of i of e(d) - AP · (objects of i)
                + Σ over d of i of Σ over l ≥ d of m(l) ([d matches] - P(l)) / N(l)

where m(l) is the number of matching detections whose highest precision is reached at l, and P(l) the precision there;
which two cumulated sums give for all images at once. An image that alone has objects of a class carries the whole
class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from compress.core.installation import install_command
from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError, UnavailableError
from compress.metrics.detection_options import DetectionOptions
from compress.metrics.detections import Detections, detections_of
from compress.metrics.detector_outputs import Layout, find_layout
from compress.metrics.jackknife import from_influence
from compress.metrics.metric import Array, Metric, Values, required_targets
from compress.metrics.options import NamedMetric

#: Least intersection over union, in the order that matches are kept in.
THRESHOLDS = np.linspace(0.5, 0.95, 10)

_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_OF_A_CLASS = 100

Flags = NDArray[np.bool_]


class Matches(NamedTuple):
    """Detections and objects of one class in one image.

    Attributes:
        scores: Scores of its detections, float64 ``(d,)``, the highest first; those that match a crowd are in
            ``ignored``.
        matched: Whether each detection is the one that matches an object, at each of :data:`THRESHOLDS`, bool ``(10,
            d)``.
        ignored: Whether each detection is ignored, bool ``(10, d)``.
        objects: Number of objects of the class, without crowds.
    """

    scores: Values
    matched: Flags
    ignored: Flags
    objects: int


#: What one image adds: the classes that it has objects or detections of.
ImageMatches = dict[int, Matches]


def mean_average_precision(
    name: str = "map", detections: DetectionOptions | None = None, layout: Layout | None = None
) -> Metric:
    """Return the mean average precision, from 0 to 1; a figure of the data set, with a value for each image.

    Targets are the boxes of each image, an object array ``(n,)`` of float64 ``(k, 5 or 6)``: x1, y1, x2, y2 in pixels
    of the network's input, class number, and 1 for a crowd. Or float ``(n, k, 5 or 6)``, padded with class -1.

    Args:
        name: Name of the metric, ``map`` or ``map-50``.
        detections: Options for reading the outputs; None takes the defaults of :class:`DetectionOptions`.
        layout: Roles of the outputs; None finds them by shapes when the metric is fitted.
    """
    options = detections or DetectionOptions()
    thresholds = slice(0, 1) if name == "map-50" else slice(None)

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> list[ImageMatches]:
        true_boxes = _target_boxes(name, required_targets(name, targets))
        detected = detections_of(outputs, options, layout)
        return [match(boxes_found, boxes) for boxes_found, boxes in zip(detected, true_boxes, strict=True)]

    def fit(specs: Sequence[TensorSpec]) -> Metric:
        _coco()
        fitted = find_layout(specs, options)
        names = tuple(specs[index].name for index in fitted.used)
        return replace(mean_average_precision(name, options, fitted), outputs=names)

    def over_data(rows: Sequence[ImageMatches]) -> Values:
        precision = Precision.of(rows, thresholds)
        if precision is None:
            raise MetricError(f"objects for {name}", "images without a single one", "give other data")
        return precision.values()

    def beside(rows: Sequence[ImageMatches]) -> dict[str, float]:
        precision = Precision.of(rows, slice(None))
        means = np.zeros(len(THRESHOLDS)) if precision is None else precision.average.mean(axis=0)
        return {"map-50": float(means[0]), "map-75": float(means[5])}

    return Metric(
        name,
        per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        fit=fit,
        over_data=over_data,
        beside=beside if name == "map" else None,
    )


def match(detections: Detections, boxes: Values) -> ImageMatches:
    """Match one image's detections with its objects, class by class, by pycocotools.

    Args:
        detections: Detections, the highest score first.
        boxes: Boxes of the objects, float64 ``(k, 5 or 6)``; see :func:`mean_average_precision`.
    """
    evaluation = _coco().COCOeval(iouType="bbox")
    crowds = boxes[:, 5] > 0 if boxes.shape[1] > 5 else np.zeros(len(boxes), bool)
    matches: ImageMatches = {}
    for number in np.union1d(detections.classes, boxes[:, 4].astype(np.int64)).tolist():
        chosen, true = detections.classes == number, boxes[:, 4] == number
        if not true.any():  # nothing to match, as most often
            scores = detections.scores[chosen][:_MOST_OF_A_CLASS]
            none = np.zeros((len(THRESHOLDS), len(scores)), dtype=bool)
            matches[number] = Matches(scores, none, none, 0)
            continue
        # A number of 0 is no match to pycocotools, so they count from 1. Areas decide nothing here.
        evaluation._dts[0, number] = [
            {"id": place, "bbox": box, "area": 1.0, "score": score}
            for place, (box, score) in enumerate(
                zip(_sides(detections.boxes[chosen]), detections.scores[chosen].tolist(), strict=True),
                start=1,
            )
        ]
        evaluation._gts[0, number] = [
            {"id": place, "bbox": box, "area": 1.0, "iscrowd": int(crowd), "ignore": int(crowd)}
            for place, (box, crowd) in enumerate(
                zip(_sides(boxes[true]), crowds[true].tolist(), strict=True), start=1
            )
        ]
        evaluation.ious[0, number] = evaluation.computeIoU(0, number)
        result = evaluation.evaluateImg(0, number, (0, 1e10), _MOST_OF_A_CLASS)
        matches[number] = _matches(result, int((true & ~crowds).sum()))
    return matches


@dataclass(frozen=True)
class Precision:
    """Average precision of every class with objects, and the influence of each image on it.

    Attributes:
        average: Average precision, float64 ``(classes, thresholds)``.
        influence: Influence of each image on its mean over the thresholds, float64 ``(classes, n)``; sums to 0 over the
            images.
        alone: Whether no other image has objects of the class, bool ``(classes, n)``.
    """

    average: Values
    influence: Values
    alone: Flags

    @classmethod
    def of(cls, rows: Sequence[ImageMatches], thresholds: slice) -> Precision | None:
        """Return the precision of the detections of all images; None where no class has objects.

        Args:
            rows: Matches of each image.
            thresholds: Indices of the :data:`THRESHOLDS` that count.
        """
        averages, influences, alone = [], [], []
        for number in sorted({number for row in rows for number in row}):
            here = [image for image, row in enumerate(rows) if number in row]
            objects = np.zeros(len(rows))
            objects[here] = [rows[image][number].objects for image in here]
            if objects.sum() == 0:
                continue
            average, influence = _of_one_class(
                [rows[image][number] for image in here], objects[here], thresholds
            )
            averages.append(average)
            influences.append(np.zeros(len(rows)))
            influences[-1][here] = influence * len(rows)
            alone.append(objects == objects.sum())
        return cls(np.stack(averages), np.stack(influences), np.stack(alone)) if averages else None

    def values(self) -> Values:
        """Return the mean over classes and thresholds as a value for each image, float64 ``(n,)``."""
        classes, images = self.influence.shape
        by_class = self.average.mean(axis=1)
        whole_mean = float(by_class.mean())
        influence = self.influence / classes
        if classes > 1:  # without the image the class is gone, and its figure with it
            gone = (images - 1) * (by_class - whole_mean) / (classes - 1)
            influence = np.where(self.alone, gone[:, None], influence)
        return from_influence(whole_mean, influence.sum(axis=0))


def _of_one_class(images: Sequence[Matches], objects: Values, thresholds: slice) -> tuple[Values, Values]:
    """Return the average precision ``(thresholds,)``, and each image's derivative ``(images,)`` of their mean."""
    scores = np.concatenate([image.scores for image in images])
    order = np.argsort(-scores, kind="stable")
    owner = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])[order]
    matched = np.concatenate([image.matched[thresholds] for image in images], axis=1)[:, order]
    ignored = np.concatenate([image.ignored[thresholds] for image in images], axis=1)[:, order]
    total = objects.sum()
    average, derivative = np.zeros(len(matched)), np.zeros(len(images))
    for place, (hits, left_out) in enumerate(zip(matched, ignored, strict=True)):
        hit, owners = hits[~left_out], owner[~left_out]
        curve = _Curve.of(hit, total)
        average[place] = curve.average
        effects = np.where(hit, curve.highest, 0.0) + np.where(hit, curve.gain, 0.0) - curve.loss
        derivative += (np.bincount(owners, effects, len(images)) - curve.area * objects) / total
    return average, derivative / len(matched)


class _Curve(NamedTuple):
    """Precision over recall of one class at one threshold.

    Attributes:
        average: Mean of the highest precision at 101 recalls, as COCO defines it.
        area: Exact area under the curve: mean over the objects, 0 for those that are not found.
        highest: Highest precision from each detection on, float64 ``(d,)``.
        gain: Sum over l ≥ d of m(l) / N(l), for each detection d.
        loss: Sum over l ≥ d of m(l) P(l) / N(l), for each detection d.
    """

    average: float
    area: float
    highest: Values
    gain: Values
    loss: Values

    @classmethod
    def of(cls, hit: Flags, total: float) -> _Curve:
        """Return the curve for ``total`` objects; ``hit``, bool ``(d,)``, runs from the highest score down."""
        if not len(hit):
            return cls(0.0, 0.0, np.zeros(0), np.zeros(0), np.zeros(0))
        count = np.arange(1, len(hit) + 1, dtype=np.float64)
        hits = np.cumsum(hit, dtype=np.float64)
        precision = hits / count
        highest = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(hits / total, _RECALLS, side="left")
        reached = at < len(hit)
        average = highest[at[reached]].sum() / len(_RECALLS)
        # Where the highest precision from each detection on is reached: the first place, from there on, that has it.
        peaks = np.flatnonzero(precision == highest)
        reached_at = peaks[np.searchsorted(peaks, np.flatnonzero(hit))]
        matching = np.bincount(reached_at, minlength=len(hit))
        gain = np.cumsum((matching / count)[::-1])[::-1]
        loss = np.cumsum((matching * precision / count)[::-1])[::-1]
        return cls(float(average), float(highest[hit].sum() / total), highest, gain, loss)


def _matches(result: Mapping[str, Any], objects: int) -> Matches:
    ignored = np.asarray(result["dtIgnore"], dtype=bool)
    matched = (np.asarray(result["dtMatches"]) > 0) & ~ignored
    return Matches(np.asarray(result["dtScores"], dtype=np.float64), matched, ignored, objects)


def _sides(boxes: Values) -> list[list[float]]:
    """Return x1, y1, width, height of each box."""
    sides: list[list[float]] = np.hstack([boxes[:, :2], np.maximum(boxes[:, 2:4] - boxes[:, :2], 0)]).tolist()
    return sides


MAP = NamedMetric(partial(mean_average_precision, "map"), {}, takes_detections=True)
MAP_50 = NamedMetric(partial(mean_average_precision, "map-50"), {}, takes_detections=True)


def _target_boxes(name: str, targets: Array) -> list[Values]:
    rows = (
        list(targets) if targets.dtype == object else [row[row[:, 4] >= 0] for row in _dense(name, targets)]
    )
    if any(row.ndim != 2 or row.shape[1] not in (5, 6) for row in rows):
        raise MetricError(
            f"boxes (k, 5 or 6) of each image for {name}", f"y of shape {list(targets.shape)}", _SAVE
        )
    return [row.astype(np.float64) for row in rows]


_SAVE = "give x1, y1, x2, y2, class, and 1 for a crowd, of each box"


def _dense(name: str, targets: Array) -> Array:
    if targets.ndim != 3 or targets.shape[2] not in (5, 6):
        raise MetricError(
            f"boxes of each image for {name}", f"y: {targets.dtype}{list(targets.shape)}", _SAVE
        )
    return targets


def _coco() -> Any:
    """Import the module of pycocotools that needs only numpy."""
    try:
        from pycocotools import cocoeval
    except ImportError as error:
        todo = install_command("detection")
        raise UnavailableError("pycocotools, which matches boxes", "it is not installed", todo) from error
    return cocoeval
