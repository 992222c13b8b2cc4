"""Options for reading a detector's outputs, from the table ``[detections]`` of ``compress-data.toml`` or the caller.

The table, with every key it may have; all are optional::

    [detections]
    boxes = "boxes"               # output with the boxes, or with boxes and scores together; found by its shape
    scores = "scores"             # output with the scores; found by its shape
    labels = "labels"             # output with class numbers, where the graph suppresses overlaps itself
    count = "num_detections"      # output with the number of boxes that are valid, where there is one
    form = "xyxy"                 # or "xywh" from the top left corner, or "cxcywh" from the centre
    normalised = false            # true where coordinates are shares of the input's width and height
    size = [640, 640]             # height, width of the input in pixels; by default those of the data
    activation = "none"           # or "sigmoid", "softmax": what scores still need to become probabilities
    objectness = false            # true where a score of 'any object' comes before those of the classes
    background = "none"           # or "first", "last": which class is no object
    score_threshold = 0.001       # boxes below it are left out
    nms = true                    # false where the graph suppresses overlaps itself, or none is needed
    iou_threshold = 0.65          # of two boxes of a class that overlap more, the one with the lower score goes
    max_detections = 300          # most boxes of an image
    columns = ["x1", "y1", "x2", "y2", "score", "class"]   # of rows that hold a whole detection each

The meaning of each shape of outputs is described in :mod:`compress.metrics.detections`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress.core.toml_schema import Field, Flag, List, Number, Text, check
from compress.errors import DataError

#: The table of ``compress-data.toml``.
TABLE = "detections"

FIELDS: dict[str, Field] = {
    "boxes": Text(),
    "scores": Text(),
    "labels": Text(),
    "count": Text(),
    "form": Text(("xyxy", "xywh", "cxcywh")),
    "normalised": Flag(),
    "size": List(Number("pixels", 1, 16384, whole=True), 2, 2),
    "activation": Text(("none", "sigmoid", "softmax")),
    "objectness": Flag(),
    "background": Text(("none", "first", "last")),
    "score_threshold": Number("", 0, 1),
    "nms": Flag(),
    "iou_threshold": Number("", 0, 1),
    "max_detections": Number("boxes", 1, 100_000, whole=True),
    "columns": List(Text(("x1", "y1", "x2", "y2", "score", "class", "image")), 6, 7),
}


@dataclass(frozen=True)
class DetectionOptions:
    """Options that turn a detector's outputs into boxes, scores and classes, equal for the original and all builds.

    Attributes:
        boxes: Name of the output with boxes, or with boxes and scores together; None finds it by its shape.
        scores: Name of the output with scores; None finds it by its shape.
        labels: Name of the output with class numbers; None finds it, where ``nms`` is false.
        count: Name of the output with the number of valid boxes; None finds it, where ``nms`` is false.
        form: Meaning of the four numbers of a box: ``xyxy``, ``xywh`` (top left corner, width, height) or ``cxcywh``
            (centre); None is ``cxcywh`` where one output holds boxes and scores, and else ``xyxy``.
        normalised: Whether coordinates are shares of the input's width and height, and not pixels.
        size: (height, width) of the network's input in pixels, at which boxes are cut. None where it is unknown.
        activation: Function that turns scores into probabilities: ``none``, ``sigmoid`` or ``softmax``.
        objectness: Whether a score of any object comes before those of the classes and multiplies them; None finds it
            where the number of classes is known, else means False.
        background: Class that is no object: ``none``, ``first`` or ``last``.
        score_threshold: Score below which boxes are left out.
        nms: Whether to suppress overlapping boxes of a class here; False where the graph does it.
        iou_threshold: Intersection over union above which the box with the lower score is suppressed.
        max_detections: Largest number of boxes of an image, the best first.
        columns: Content of the last axis of rows ``[n, boxes, 6 or 7]``; None is x1, y1, x2, y2, score, class, or with
            seven columns image, x1, y1, x2, y2, class, score.
        classes: Number of classes in the data; None where it is unknown.
    """

    boxes: str | None = None
    scores: str | None = None
    labels: str | None = None
    count: str | None = None
    form: str | None = None
    normalised: bool = False
    size: tuple[int, int] | None = None
    activation: str = "none"
    objectness: bool | None = None
    background: str = "none"
    score_threshold: float = 0.001
    nms: bool = True
    iou_threshold: float = 0.65
    max_detections: int = 300
    columns: tuple[str, ...] | None = None
    classes: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "the detection options") -> DetectionOptions:
        """Make the options from keys and values.

        Raises:
            DataError: A key is unknown, a value has another type or is out of range, or values do not fit together.
        """
        return cls(**check(values, FIELDS, where, DataError))

    def __post_init__(self) -> None:
        if self.nms and (self.labels is not None or self.count is not None or self.columns is not None):
            problem = "labels, count or columns, which only such a graph has, and nms = true"
            raise DataError(
                "nms = false for a graph that suppresses overlaps itself", problem, "set nms = false"
            )
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise DataError("columns that are each there once", str(list(self.columns)), "correct columns")
        if self.columns is not None and not {"x1", "y1", "x2", "y2", "score", "class"} <= set(self.columns):
            problem = str(list(self.columns))
            raise DataError("columns with x1, y1, x2, y2, score and class", problem, "correct columns")
