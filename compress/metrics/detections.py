"""Reading of a detector's outputs as boxes, scores and classes, in the same way for the original and every build.

Four kinds of outputs are told apart by their shapes. There are n images, a places that a box can come from, k boxes
that the graph itself kept, and c classes; :class:`compress.data.DetectionOptions` says what shapes leave open::

    boxes [n, a, 4] or [n, 4, a], scores [n, a, c] or [n, c, a]    two outputs
    [n, 4 + c, a] or [n, a, 4 + c]                                 one output; 5 + c with a score of any object
    boxes [n, k, 4], scores [n, k], class numbers [n, k]           nms = false; also the number of boxes, [n] or [n, 1]
    rows [n, k, 6 or 7] or [n, 1, k, 6 or 7]                       nms = false; each row is one detection

Axes of length 1 in between are dropped. A box whose coordinates or score are not finite is left out, and boxes are cut
at the edges of the input where its size is known. Of two boxes of one class that overlap by more than
``iou_threshold``, the one with the lower score goes (greedy non-maximum suppression, as in torchvision's
``batched_nms``); equal scores go by place, then by class. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics.detection_options import DetectionOptions
from compress.metrics.detector_outputs import TABLE, Layout, find_layout, plain_shape
from compress.metrics.metric import Array, Values

#: More candidates of one image than these, the best ones, are not looked at before suppression.
MOST_CANDIDATES = 30_000

_PIXEL = 1.0
_AT_ONCE = 64  # detections that are held against one another; of more, the table takes longer than it saves
_ROWS = {
    6: ("x1", "y1", "x2", "y2", "score", "class"),
    7: ("image", "x1", "y1", "x2", "y2", "class", "score"),
}


class Detections(NamedTuple):
    """Detections in one image, the highest score first.

    Attributes:
        boxes: Boxes, float64 ``(k, 4)``: x1, y1, x2, y2 in pixels of the network's input.
        scores: Scores, float64 ``(k,)``.
        classes: Class numbers, int64 ``(k,)``, from 0.
    """

    boxes: Values
    scores: Values
    classes: NDArray[np.int64]


def detections_of(
    outputs: Sequence[Array], options: DetectionOptions, layout: Layout | None = None
) -> list[Detections]:
    """Return the detections of each image.

    Args:
        outputs: Array ``(n, …)`` of each output of the network.
        options: Options for reading them.
        layout: Roles of the outputs; None finds them by shapes alone.

    Raises:
        MetricError: The outputs' shapes do not fit together.
    """
    if layout is None:
        specs = [
            TensorSpec(f"output {i}", str(output.dtype), output.shape) for i, output in enumerate(outputs)
        ]
        layout = find_layout(specs, options)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is left out below
        if layout.kind in ("kept", "rows"):
            candidates = (
                _kept(outputs, layout, options) if layout.kind == "kept" else _rows(outputs, layout, options)
            )
            return [_best(*candidate, options, suppress=False) for candidate in candidates]
        boxes, scores = (_two if layout.kind == "two" else _one)(outputs, layout, options)
        corners = _corners(boxes, "xyxy" if layout.kind == "two" else "cxcywh", options)
        return [
            _best(
                corners_of_image, *_candidates(score, options.score_threshold), options, suppress=options.nms
            )
            for corners_of_image, score in zip(corners, scores, strict=True)
        ]


def _squeezed(output: Array) -> Array:
    """Return an array without axes of length 1 in between, in float32 at least."""
    shape = plain_shape(TensorSpec("", str(output.dtype), output.shape))
    wide = output if output.dtype.itemsize > 2 else output.astype(np.float32)
    return wide.reshape([int(length) for length in shape])


def _two(outputs: Sequence[Array], layout: Layout, options: DetectionOptions) -> tuple[Values, Array]:
    """Return boxes, float64 ``(n, a, 4)``, and scores, ``(n, a, classes)``, from two outputs."""
    score_output = outputs[layout.scores or 0]
    boxes, scores = _boxes(outputs[layout.boxes]), _squeezed(score_output)
    scores = scores[:, :, None] if scores.ndim == 2 else scores
    places = boxes.shape[1]
    if scores.ndim != 3 or places not in scores.shape[1:]:
        problem = f"boxes {list(outputs[layout.boxes].shape)} and scores {list(score_output.shape)}"
        raise MetricError("scores for each box", problem, f"name the outputs: boxes and scores in {TABLE}")
    if scores.shape[1] != places:
        scores = scores.transpose(0, 2, 1)
    return boxes, _probabilities(scores, options)


def _one(outputs: Sequence[Array], layout: Layout, options: DetectionOptions) -> tuple[Values, Array]:
    """Return boxes and scores from one output, whose shorter axis, or the one of their length, holds them."""
    output = _squeezed(outputs[layout.boxes])
    numbers_of_box = None if options.classes is None else 4 + options.classes + (options.background != "none")
    lengths = () if numbers_of_box is None else (numbers_of_box, numbers_of_box + 1)
    fits = [length in lengths for length in output.shape[1:]]
    if fits == [True, False] or (fits[0] == fits[1] and output.shape[1] <= output.shape[2]):
        output = output.transpose(0, 2, 1)
    problem = f"an output of shape {list(outputs[layout.boxes].shape)}"
    if output.shape[2] < 5:
        wanted = "4 coordinates and at least one score for each box"
        raise MetricError(wanted, problem, f"set nms or names in {TABLE}")
    boxes, scores = output[:, :, :4].astype(np.float64), output[:, :, 4:]
    objectness = options.objectness
    if objectness is None:
        objectness = numbers_of_box is not None and output.shape[2] == numbers_of_box + 1
    if not objectness:
        return boxes, _probabilities(scores, options)
    if scores.shape[2] < 2:
        raise MetricError(
            "scores of classes beside objectness", problem, f"set objectness = false in {TABLE}"
        )
    any_object = _sigmoid(scores[:, :, :1]) if options.activation != "none" else scores[:, :, :1]
    return boxes, any_object * _probabilities(scores[:, :, 1:], options)


def _kept(
    outputs: Sequence[Array], layout: Layout, options: DetectionOptions
) -> list[tuple[Values, NDArray[np.int64], Values, NDArray[np.int64]]]:
    """Return the boxes of each image, their places, scores and class numbers, which the graph kept."""
    boxes = _corners(_boxes(outputs[layout.boxes]), "xyxy", options)
    scores, labels = (
        outputs[index].astype(np.float64) for index in (layout.scores, layout.labels) if index is not None
    )
    if scores.shape != boxes.shape[:2] or labels.shape != boxes.shape[:2]:
        problem = ", ".join(str(list(outputs[index].shape)) for index in layout.used)
        raise MetricError("boxes [n, k, 4] with scores and class numbers [n, k]", problem, f"correct {TABLE}")
    counts = np.full(len(boxes), boxes.shape[1])
    if layout.count is not None:
        counts = outputs[layout.count].reshape(-1).astype(np.int64)
    return [
        _single(box, np.where(np.arange(len(score)) < count, score, -np.inf), label, options)
        for box, score, label, count in zip(boxes, _activated(scores, options), labels, counts, strict=True)
    ]


def _rows(
    outputs: Sequence[Array], layout: Layout, options: DetectionOptions
) -> list[tuple[Values, NDArray[np.int64], Values, NDArray[np.int64]]]:
    """Return boxes from rows; a negative image number ends them, as OpenVINO writes it."""
    rows = _squeezed(outputs[layout.boxes]).astype(np.float64)
    columns = options.columns or _ROWS.get(rows.shape[2], ())
    if len(columns) != rows.shape[2]:
        problem = f"an output of shape {list(outputs[layout.boxes].shape)}"
        raise MetricError(
            f"rows of {len(columns) or '6 or 7'} numbers for each box", problem, f"set columns in {TABLE}"
        )
    column = {name: rows[:, :, index] for index, name in enumerate(columns)}
    boxes = np.stack([column[name] for name in ("x1", "y1", "x2", "y2")], axis=2)
    scores = _activated(column["score"], options)
    if "image" in column:
        scores = np.where(column["image"] >= 0, scores, -np.inf)
    corners = _corners(boxes, "xyxy", options)
    return [_single(*row, options) for row in zip(corners, scores, column["class"], strict=True)]


def _single(
    boxes: Values, scores: Values, labels: Values, options: DetectionOptions
) -> tuple[Values, NDArray[np.int64], Values, NDArray[np.int64]]:
    """Return the boxes of one image that have a class and enough score."""
    numbers = np.where(np.isfinite(labels), labels, -1).astype(np.int64) - (options.background == "first")
    chosen = np.flatnonzero((scores >= options.score_threshold) & (numbers >= 0))
    if options.classes is not None and len(chosen) and numbers[chosen].max() >= options.classes:
        raise _other_classes(f"class number {numbers[chosen].max()}", options.classes)
    return boxes, chosen, scores[chosen], numbers[chosen]


def _boxes(output: Array) -> Values:
    """Return boxes as float64 ``(n, a, 4)``."""
    boxes = _squeezed(output).astype(np.float64)
    if boxes.ndim != 3 or 4 not in boxes.shape[1:]:
        problem = f"an output of shape {list(output.shape)}"
        raise MetricError("boxes [n, boxes, 4]", problem, f"name another output: boxes = … in {TABLE}")
    return boxes if boxes.shape[2] == 4 else boxes.transpose(0, 2, 1)


def _probabilities(scores: Array, options: DetectionOptions) -> Array:
    """Return activated scores, without the background class."""
    activated = _activated(scores, options)
    start, stop = int(options.background == "first"), activated.shape[2] - (options.background == "last")
    activated = activated[:, :, start:stop]
    if options.classes is not None and activated.shape[2] != options.classes:
        raise _other_classes(f"scores for {activated.shape[2]}", options.classes)
    return activated


def _other_classes(problem: str, classes: int) -> MetricError:
    todo = f"set background or objectness in {TABLE}, or categories in its table [annotations]"
    return MetricError(f"the {classes} classes of the data in the detector's outputs", problem, todo)


def _activated(scores: Array, options: DetectionOptions) -> Array:
    if options.activation == "sigmoid":
        return _sigmoid(scores)
    if options.activation == "softmax" and scores.ndim == 3:
        powers = np.exp(scores - scores.max(axis=2, keepdims=True))
        softmax: Array = powers / powers.sum(axis=2, keepdims=True)
        return softmax
    return scores


def _sigmoid(scores: Array) -> Array:
    sigmoid: Array = 1 / (1 + np.exp(-scores))
    return sigmoid


def _corners(boxes: Values, default: str, options: DetectionOptions) -> Values:
    """Return x1, y1, x2, y2 in pixels, float64 ``(n, a, 4)``, cut at the edges where the size is known."""
    form = options.form or default
    if options.form is None and form == "xyxy":
        turned = (boxes[:, :, 2:] < boxes[:, :, :2]).any(axis=2)
        if turned.sum() > turned.size / 2:
            problem = f"{turned.sum()} of {turned.size} that end before they begin"
            raise MetricError("boxes as x1, y1, x2, y2", problem, f"set form = cxcywh or xywh in {TABLE}")
    largest = np.max(boxes, initial=0, where=np.isfinite(boxes))
    if not options.normalised and _PIXEL / 20 < largest < 1.5 * _PIXEL:
        problem = f"coordinates that are all at most {largest:.3g}"
        raise MetricError(
            "boxes in pixels of the network's input", problem, f"set normalised = true in {TABLE}"
        )
    if options.normalised and options.size is None:
        todo = f"set size = [height, width] in {TABLE}"
        raise MetricError("the size of the network's input, for normalised boxes", "none", todo)
    first, second = boxes[:, :, :2], boxes[:, :, 2:]
    if form == "cxcywh":
        first, second = first - second / 2, first + second / 2
    elif form == "xywh":
        second = first + second
    corners = np.concatenate([first, second], axis=2)
    corners[~np.isfinite(corners)] = np.nan  # cutting would make infinity an edge
    if options.size is None:
        return corners
    edges = np.array([options.size[1], options.size[0]] * 2, dtype=np.float64)
    cut: Values = np.clip(corners * edges if options.normalised else corners, 0, edges)
    return cut


def _candidates(scores: Array, threshold: float) -> tuple[NDArray[np.int64], Values, NDArray[np.int64]]:
    """Return places, scores and classes above the threshold from one image's scores, ``(a, classes)``."""
    places, classes = np.nonzero(scores >= threshold)  # NaN is not
    return places, scores[places, classes].astype(np.float64), classes


def _best(
    boxes: Values,
    places: NDArray[np.int64],
    scores: Values,
    classes: NDArray[np.int64],
    options: DetectionOptions,
    suppress: bool,
) -> Detections:
    """Return the best detections of one image, with overlapping ones suppressed where asked for."""
    finite_boxes = np.isfinite(boxes[places]).all(axis=1) & np.isfinite(scores)
    order = np.flatnonzero(finite_boxes)
    order = order[np.argsort(-scores[order], kind="stable")][:MOST_CANDIDATES]
    sorted_boxes = Detections(boxes[places[order]], scores[order], classes[order].astype(np.int64))
    if suppress:
        rows_kept = not_suppressed(sorted_boxes, options.iou_threshold, options.max_detections)
    else:
        rows_kept = np.arange(min(len(order), options.max_detections))
    return Detections(
        sorted_boxes.boxes[rows_kept], sorted_boxes.scores[rows_kept], sorted_boxes.classes[rows_kept]
    )


def not_suppressed(detections: Detections, iou_threshold: float, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` positions of detections that no better one of their class overlaps too far.

    Args:
        detections: Detections, the highest score first.
        iou_threshold: Intersection over union above which the later one is suppressed.
        most: Largest number to keep.
    """
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(detections.scores), _AT_ONCE):
        left = np.arange(start, min(start + _AT_ONCE, len(detections.scores)))
        left = left[~_overlap(detections, kept, left, iou_threshold).any(axis=0)]
        near = _overlap(
            detections, left, left, iou_threshold
        )  # all at once: a call for each would take most of the time
        gone = np.zeros(len(left), dtype=bool)
        for position in range(len(left)):
            if not gone[position]:
                gone |= near[position]
                gone[position] = False
        kept = np.concatenate([kept, left[~gone]])[:most]
        if len(kept) == most:
            break
    return kept


def _overlap(
    detections: Detections, first: NDArray[np.int64], second: NDArray[np.int64], iou_threshold: float
) -> NDArray[np.bool_]:
    """Whether detections are of one class and overlap too far, bool ``(first, second)``."""
    a, b = detections.boxes[first][:, None], detections.boxes[second][None]
    common = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0).prod(
        axis=2
    )
    areas = [np.maximum(corners[..., 2:] - corners[..., :2], 0).prod(axis=2) for corners in (a, b)]
    same = detections.classes[first][:, None] == detections.classes[second]
    too_far: NDArray[np.bool_] = same & (common > iou_threshold * (areas[0] + areas[1] - common))
    return too_far
