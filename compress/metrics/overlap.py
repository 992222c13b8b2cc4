"""Overlap of predicted and true classes: ``miou`` of maps, ``f1`` of several labels at once, ``f1-macro``.

All come from three counts for each class c: I of what is both predicted and labelled c, P of what is predicted c, L of
what is labelled c; pixels are counted for ``miou``, samples for the others, over the whole data set ::

    miou       mean over classes of I / (P + L - I)      intersection over union: Everingham et al., 'The PASCAL Visual
                                                         Object Classes Challenge', IJCV 88 (2010)
    f1         2 Σ I / (Σ P + Σ L), sums over labels      micro average; van Rijsbergen, 'Information Retrieval' (1979)
    f1-macro   mean over classes of 2 I / (P + L)

The mean is over the classes that occur in the targets. Where every class that is predicted occurs there too, these are
``jaccard_score`` and ``f1_score`` of scikit-learn and ``JaccardIndex`` of torchmetrics. Those two also count a class
that is only predicted, so that one stray pixel of a new class would move the mean by a whole class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from compress.core.tensor_spec import TensorSpec
from compress.core.toml_schema import Number, Text
from compress.errors import MetricError
from compress.metrics.jackknife import Shares
from compress.metrics.metric import Array, Metric, Values, of_first_output, required_targets
from compress.metrics.options import NamedMetric

#: What a sample keeps: int64 ``(classes that occur in it, 4)``, columns class, I, P and L.
Counts = Array

_PROBABILITY = 0.5
_WRONG_WEIGHTS = "check its weights and inputs"


def miou(ignore: int | None = None, axis: str | None = None, threshold: float | None = None) -> Metric:
    """Return the mean intersection over union of class maps.

    The first output holds scores ``[n, classes, height, width]`` or ``[n, height, width, classes]``, of which the
    largest is taken, or class numbers ``[n, height, width]`` as integers. A single channel of scores says class 1
    above ``threshold`` and class 0 elsewhere. Targets are integers ``(n, height, width)``; negative ones have no label.

    Args:
        ignore: Class number in the targets that counts as no label, such as 255; None for none.
        axis: Axis of the classes in scores, ``first`` or ``last``; None finds it by the targets' shape.
        threshold: Score above which a single channel means class 1; None is 0.5, and then all scores must be
            probabilities.
    """
    name = "miou"

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> list[Counts]:
        labels = _label_maps(name, required_targets(name, targets))
        predicted, classes = _predicted_maps(name, outputs[0], labels.shape, axis, threshold)
        keep = (labels >= 0) & (labels != (-1 if ignore is None else ignore))
        if classes is not None and keep.any() and labels[keep].max() >= classes:
            problem = f"{labels[keep].max()} in y"
            todo = f"number the classes as the network does, or leave that one out: miou:ignore={labels[keep].max()}"
            raise MetricError(f"labels below {classes}, the number of classes in the output", problem, todo)
        return [
            _counted(predicted_map[is_judged], true_map[is_judged])
            for predicted_map, true_map, is_judged in zip(predicted, labels, keep, strict=True)
        ]

    def fit(specs: Sequence[TensorSpec]) -> Metric:
        spec = specs[0]
        is_integer = spec.dtype.startswith(("int", "uint", "bool"))
        if len(spec.shape) != 4 and not (len(spec.shape) == 3 and is_integer):
            wanted = f"scores [samples, classes, height, width] or maps of class numbers for {name}"
            raise MetricError(wanted, f"a first output {spec}", "choose another metric")
        return replace(metric, outputs=(spec.name,))

    metric = Metric(
        name,
        per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        fit=fit,
        over_data=lambda rows: _mean_over_classes(name, rows, "iou"),
    )
    return metric


def f1(threshold: float | None = None) -> Metric:
    """Return F1 of several labels at once, micro average: hits of all labels together.

    The first output holds a score for each label, ``(n, labels)``; a label is predicted where its score is above
    ``threshold``. Targets are 0 or 1 of the same shape.

    Args:
        threshold: Score above which a label is predicted, 0 for logits; None is 0.5, and then all scores must be
            probabilities.
    """
    name = "f1"

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> list[Counts]:
        labels, scores = required_targets(name, targets), outputs[0]
        if labels.shape != scores.shape or scores.ndim != 2 or not np.isin(labels, (0, 1)).all():
            raise MetricError(
                f"targets of 0 and 1 for {name}, one for each of the scores {list(scores.shape[1:])} of a sample",
                f"y: {labels.dtype}{list(labels.shape[1:])} from {labels.min()} to {labels.max()}",
                "save one number a label, or take f1-macro for one class a sample",
            )
        predicted, is_true = _above(name, scores, threshold), labels.astype(bool)
        sums = [(predicted & is_true).sum(axis=1), predicted.sum(axis=1), is_true.sum(axis=1)]
        return list(np.stack([np.zeros(len(labels), np.int64), *sums], axis=1)[:, None, :])

    metric = Metric(
        name,
        per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        over_data=lambda rows: _mean_over_classes(name, rows, "f1"),
    )
    return of_first_output(metric)


def f1_macro() -> Metric:
    """Return the mean of F1 over classes, where each sample has one class.

    The first output holds scores ``(n, classes)``, of which the largest is taken, or class numbers ``(n,)`` as
    integers. Targets are class labels, int64 ``(n,)``.
    """
    name = "f1-macro"

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> list[Counts]:
        labels, scores = required_targets(name, targets), outputs[0]
        is_integer = scores.ndim == 1 and scores.dtype.kind in "iu"
        if not is_integer and (scores.ndim != 2 or scores.shape[1] < 2):
            problem = f"a first output of shape {list(scores.shape)}"
            raise MetricError(
                f"scores [samples, classes] or class numbers for {name}", problem, "choose another metric"
            )
        _check_numbers(scores)
        _check_labels(name, labels, None if is_integer else scores.shape[1])
        predicted = scores.astype(np.int64) if is_integer else scores.argmax(axis=1)
        return [
            _counted(predicted_class, true_class)
            for predicted_class, true_class in zip(predicted[:, None], labels[:, None], strict=True)
        ]

    metric = Metric(
        name,
        per_sample,
        "labels",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        class_labels=True,
        # Only scores say how many classes there are, which labels are checked against.
        fit=lambda specs: replace(metric, outputs=(specs[0].name,), class_labels=len(specs[0].shape) == 2),
        over_data=lambda rows: _mean_over_classes(name, rows, "f1"),
    )
    return metric


MIOU = NamedMetric(
    miou,
    {
        "ignore": Number("", 0, 1e9, whole=True),
        "axis": Text(("first", "last")),
        "threshold": Number("", -1e6, 1e6),
    },
)
F1 = NamedMetric(f1, {"threshold": Number("", -1e6, 1e6)})
F1_MACRO = NamedMetric(f1_macro, {})


def _counted(predicted: Array, labels: Array) -> Counts:
    """Return class, I, P and L of every class in one sample's predictions or labels, both ``(m,)``."""
    classes, inverse = np.unique(np.concatenate([predicted, labels]), return_inverse=True)
    predicted_places, true_places = inverse[: len(predicted)], inverse[len(predicted) :]
    both = predicted_places[predicted_places == true_places]
    counts = [np.bincount(places, minlength=len(classes)) for places in (both, predicted_places, true_places)]
    return np.stack([classes, *counts], axis=1).astype(np.int64)


def _mean_over_classes(name: str, rows: Sequence[Counts], ratio: Literal["iou", "f1"]) -> Values:
    samples = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    classes, both, predicted_counts, true_counts = np.concatenate(rows).T
    above, below = (
        (both, predicted_counts + true_counts - both)
        if ratio == "iou"
        else (2 * both, predicted_counts + true_counts)
    )
    values = Shares(samples, classes, above, below, true_counts).mean_ratio(len(rows))
    if values is None:
        raise MetricError(
            f"labels for {name}", "targets without a single one", "check y, and what is ignored"
        )
    return values


def _label_maps(name: str, labels: Array) -> Array:
    if labels.ndim == 4 and 1 in (labels.shape[1], labels.shape[3]):
        labels = labels.reshape(
            len(labels), *(labels.shape[2:] if labels.shape[1] == 1 else labels.shape[1:3])
        )
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise MetricError(
            f"a class number for each pixel, integers [samples, height, width], for {name}",
            f"y: {labels.dtype}{list(labels.shape[1:])} a sample",
            "save class maps as integers: y.argmax(1) from one-hot ones",
        )
    return labels


def _predicted_maps(
    name: str, scores: Array, map_shape: tuple[int, ...], axis: str | None, threshold: float | None
) -> tuple[Array, int | None]:
    """Return class numbers of the labels' shape, and the number of classes; None where it is unknown."""
    is_integer = scores.dtype.kind in "iub"
    if scores.shape == map_shape and is_integer:
        return scores.astype(np.int64), None
    problem = f"a first output of shape {list(scores.shape)} and y of shape {list(map_shape)}"
    fits = {
        "first": scores.ndim == 4 and (scores.shape[0], *scores.shape[2:]) == map_shape,
        "last": scores.ndim == 4 and scores.shape[:3] == map_shape,
    }
    where = [fit for fit in fits if fits[fit] and axis in (None, fit)]
    if not where:
        axis_text = (
            f", with the classes on the axis told, {axis}" if axis is not None and any(fits.values()) else ""
        )
        todo = "leave the setting axis out" if axis_text else "resize the masks to the output"
        raise MetricError(
            f"scores or class numbers at the targets' pixels for {name}{axis_text}", problem, todo
        )
    if len(where) > 1:
        raise MetricError(
            "one axis that can hold the classes", problem, f"say which: {name}:axis=first or axis=last"
        )
    channels = 1 if where == ["first"] else 3
    if scores.shape[channels] > 1:
        _check_numbers(scores)
        return scores.argmax(axis=channels), scores.shape[channels]
    single = scores.reshape(map_shape)
    return (
        (single.astype(np.int64), None)
        if is_integer
        else (_above(name, single, threshold).astype(np.int64), 2)
    )


def _above(name: str, scores: Array, threshold: float | None) -> Array:
    _check_numbers(scores)
    if threshold is None and scores.size and not 0 <= scores.min() <= scores.max() <= 1:
        problem = f"scores from {scores.min():.3g} to {scores.max():.3g}"
        raise MetricError(
            f"probabilities for {name}", problem, f"say what counts: {name}:threshold=0 for logits"
        )
    above: Array = scores > (_PROBABILITY if threshold is None else threshold)
    return above


def _check_numbers(scores: Array) -> None:
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        raise MetricError("scores that can be compared", "NaN in the network's output", _WRONG_WEIGHTS)


def _check_labels(name: str, labels: Array, classes: int | None) -> None:
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        problem = f"y: {labels.dtype}{list(labels.shape[1:])}"
        raise MetricError(f"{name} with one integer label a sample", problem, "choose another metric")
    if labels.size and (labels.min() < 0 or (classes is not None and labels.max() >= classes)):
        most = "" if classes is None else f" and below {classes}"
        raise MetricError(
            f"labels from 0{most}", f"labels from {labels.min()} to {labels.max()}", "correct y"
        )
