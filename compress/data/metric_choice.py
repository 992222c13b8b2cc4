"""The metric of a task: the one asked for or the one that suits the targets, checked against the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from compress.core.suggestions import did_you_mean
from compress.core.tensor_spec import TensorSpec
from compress.data import DetectionOptions, Split
from compress.data.split import READ_SIZE, Array
from compress.errors import DataError, MetricError
from compress.metrics import Metric, load_metric
from compress.metrics.output_kinds import KINDS
from compress.metrics.selection import ByOutput

#: A metric's name, a function, a metric, or one of these for each of several outputs; None chooses by the targets.
MetricChoice = str | Callable[..., Any] | Metric | Mapping[str, "str | Callable[..., Any] | Metric"] | None


def divided(metric: MetricChoice) -> tuple[str | Callable[..., Any] | Metric | None, ByOutput]:
    """Return the metric of the targets, and the kinds or metrics named for single outputs."""
    if not isinstance(metric, Mapping):
        return metric, {}
    by_output = {name: _named(choice) for name, choice in metric.items() if name}
    return metric.get(""), by_output


def _named(choice: str | Callable[..., Any] | Metric) -> str | Metric:
    """Return the kind of an output's content, or a metric for it."""
    if isinstance(choice, str) and choice in KINDS:
        return choice
    try:
        return load_metric(choice)
    except MetricError as error:
        near = did_you_mean(choice, KINDS) if isinstance(choice, str) else ""
        if not near:
            raise
        raise MetricError(error.wanted, error.found, near) from error


def detections_for(evaluation: Split, given: Mapping[str, Any] | None) -> DetectionOptions | None:
    """Return a detector's options: the caller's, then those beside the data, then those the data shows."""
    keys = {**evaluation.detections, **(given or {})}
    first = next(evaluation.batches(1))
    if not keys and not _holds_boxes(first.targets):
        return None
    options = DetectionOptions.of(keys)
    size = options.size if options.size is not None else _image_size(first.inputs)
    return replace(
        options, size=size, classes=None if evaluation.classes is None else len(evaluation.classes)
    )


def _image_size(inputs: Mapping[str, Array]) -> tuple[int, int] | None:
    """(height, width) of the only input that holds images; None where there is none, or several."""
    images = [array.shape[1:] for array in inputs.values() if array.ndim == 4]
    if len(images) != 1:
        return None
    first, middle, last = images[0]
    return (middle, last) if first <= last else (first, middle)


def _holds_boxes(targets: Array | None) -> bool:
    return targets is not None and targets.dtype == object


def _default_metric(evaluation: Split, targets: Array | None, streams: bool) -> str:
    if evaluation.default_metric is not None:
        return evaluation.default_metric
    if targets is None:
        return "agreement"
    if _holds_boxes(targets):
        return "map"
    if evaluation.labels is not None or (streams and targets.dtype.kind == "i" and targets.ndim == 2):
        return "top-1"
    if targets.dtype.kind == "f":
        return "mean-error"
    if targets.ndim >= 3:
        return "miou"
    shape = [len(evaluation), *targets.shape[1:]]
    todo = "f1 or auc for several labels at once, wer or cer for sequences, or give package.module:callable"
    raise MetricError("a metric's name", f"integer targets of shape {shape}", todo)


def metric_for(
    evaluation: Split,
    metric: str | Callable[..., Any] | Metric | None,
    by_output: ByOutput,
    detections: DetectionOptions | None,
    streams: bool,
) -> Metric:
    """Return the metric asked for, or the one that suits the targets, checked against them."""
    targets = next(evaluation.batches(1)).targets
    if metric is None and any(isinstance(choice, Metric) for choice in by_output.values()):
        metric = "agreement"  # the targets are those of the outputs that a metric is named for
    if metric in (None, "mean-error") and not streams and _one_hot(evaluation):
        raise MetricError(
            "class labels, one integer a sample",
            f"y: one-hot rows of {0 if targets is None else targets.shape[1]} classes",
            "save class numbers: y.argmax(1)",
        )
    if metric is None:
        metric = _default_metric(evaluation, targets, streams)
    chosen = load_metric(metric, detections)
    if targets is None and chosen.unlabelled is not None:
        chosen = chosen.unlabelled
    for chosen_metric in (chosen, *(named for named in by_output.values() if isinstance(named, Metric))):
        if chosen_metric.needs == "labels" and targets is None:
            raise MetricError(
                f"targets for {chosen_metric.name}", "data without y", "add y, or use the metric 'agreement'"
            )
    of_frames = streams and targets is not None and targets.dtype.kind == "i" and targets.ndim == 2
    if chosen.class_labels and evaluation.labels is None and targets is not None and not of_frames:
        shape = f"y: {targets.dtype}[{', '.join(map(str, (len(evaluation), *targets.shape[1:])))}]"
        todo = (
            "save class numbers: y.astype('int64')"
            if targets.ndim == 1
            else "save class numbers: y.argmax(1)"
        )
        raise MetricError(f"class labels for {chosen.name}, one integer a sample", shape, todo)
    return chosen


def _one_hot(split: Split) -> bool:
    """Whether every target is a row with a single 1 among zeros."""
    for batch in split.batches(READ_SIZE):
        targets = batch.targets
        if targets is None or targets.dtype == object or targets.ndim != 2 or targets.shape[1] < 2:
            return False
        if not (np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all()):
            return False
    return True


def check_labels(split: Split, scores: TensorSpec, role: str) -> None:
    """Check the labels against the classes that the network scores, ``(n, classes)``."""
    classes = scores.sample_shape[0] if scores.sample_shape else None
    if split.labels is None or not isinstance(classes, int):
        return
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"labels from 0 to {classes - 1}, for the {classes} classes of output '{scores.name}'",
            f"labels from {low} to {high} in the {role} data",
            "number the classes as the network was trained",
        )
    if split.classes is not None and len(split.classes) != classes:
        raise DataError(
            f"a folder for each of the {classes} classes of output '{scores.name}'",
            f"{len(split.classes)} class folders in the {role} data",
            "labels follow the folders' order: name all classes of the network in its order with --classes FILE",
        )
