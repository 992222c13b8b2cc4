"""How far a network does what the original does: the metric for data without labels.

What is compared is the first output:

    class scores (n, classes)             1 where the highest score is at the same class, else 0
    scores at positions                   share of positions with the same class on top: the last axis of three holds
                                          the classes (n, positions, classes), axis 1 of four and more (n, classes, …)
    integers, such as class numbers       share of equal values
    anything else: one axis, or 1 score   1 - ‖y - y0‖ / ‖y0‖, between 0 and 1, where y0 is the original's
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values, finite
from compress.tensors import TensorSpec

_NAME = "agreement"


def agreement() -> Metric:
    """Agreement with the original network, from 0 to 1 for each sample; see this module."""
    return Metric(_NAME, _per_sample, "reference", False, True, "%", fit=_fit)


def _fit(outputs: Sequence[TensorSpec]) -> Metric:
    spec = outputs[0]
    whole_classes = len(spec.shape) == 2 and isinstance(spec.shape[1], int) and spec.shape[1] > 1
    one_number = len(spec.shape) == 1
    floating = spec.dtype.startswith(("float", "bfloat"))
    return replace(agreement(), right_or_wrong=whole_classes if floating else one_number)


def _per_sample(outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None) -> Values:
    if reference is None:
        raise MetricError("outputs of the original network for agreement", "none", "name another metric")
    ours, theirs = outputs[0], reference[0]
    if ours.shape != theirs.shape:
        raise MetricError(
            "outputs of the original's shape",
            f"{list(ours.shape)}, not {list(theirs.shape)}",
            "compare like networks",
        )
    if np.isnan(ours).any() or np.isnan(theirs).any():
        raise MetricError(
            "outputs that can be compared", "NaN in a network's output", "check its weights and inputs"
        )
    axis = _class_axis(ours.shape)
    if ours.dtype.kind != "f":
        return _share(ours == theirs)
    if axis is not None:
        return _share(ours.argmax(axis) == theirs.argmax(axis))
    return _closeness(_rows(ours), _rows(theirs))


def _class_axis(shape: tuple[int, ...]) -> int | None:
    axis = {1: None, 2: 1, 3: 2}.get(len(shape), 1)
    return None if axis is None or shape[axis] == 1 else axis


def _share(same: Array) -> Values:
    share: Values = _rows(same).mean(axis=1)
    return share


def _closeness(ours: Values, theirs: Values) -> Values:
    distance, length = np.linalg.norm(ours - theirs, axis=1), np.linalg.norm(theirs, axis=1)
    relative = np.divide(distance, length, out=(distance > 0).astype(np.float64), where=length > 0)
    return finite(_NAME, np.clip(1 - relative, 0.0, 1.0))


def _rows(array: Array) -> Values:
    return array.reshape(len(array), -1).astype(np.float64)
