"""Class scores against class labels: right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values, required_targets
from compress.metrics.options import NamedMetric


def top_k(k: int) -> Metric:
    """Return a metric that is 1 where the label is among the ``k`` highest scores of the first output, else 0.

    Scores have shape ``(n, classes)`` with more than ``k`` classes; labels are int64 ``(n,)``. Among equal scores the
    lower class number counts as the higher score, as ``argmax`` has it.
    """
    name = f"top-{k}"

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> Values:
        scores, labels = outputs[0], required_targets(name, targets)
        _check_shape(name, k, scores.shape)
        if labels.dtype.kind != "i" or labels.shape != scores.shape[:1]:
            raise MetricError(
                f"{name} with one integer label a sample", f"y: {labels.dtype}{list(labels.shape[1:])}", _TODO
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < scores.shape[1]:
            problem = f"labels from {labels.min()} to {labels.max()}"
            raise MetricError(f"labels in [0, {scores.shape[1]})", problem, "correct y")
        if np.isnan(scores).any():
            raise MetricError(
                "scores that can be ranked", "NaN in the network's output", "check its weights and inputs"
            )
        own_scores = scores[np.arange(len(scores)), labels][:, None]
        ties = (scores == own_scores) & (np.arange(scores.shape[1]) < labels[:, None])
        ahead = (scores > own_scores).sum(axis=1) + ties.sum(axis=1)
        right: Values = (ahead < k).astype(np.float64)
        return right

    def fit(outputs: Sequence[TensorSpec]) -> Metric:
        _check_shape(name, k, outputs[0].shape)
        return replace(metric, outputs=(outputs[0].name,))

    metric = Metric(name, per_sample, "labels", True, True, "%", class_labels=True, fit=fit, span=(0.0, 1.0))
    return metric


TOP_1 = NamedMetric(partial(top_k, 1), {})
TOP_5 = NamedMetric(partial(top_k, 5), {})

_TODO = "choose another metric, or give package.module:callable"


def _check_shape(name: str, k: int, shape: tuple[int | str, ...]) -> None:
    classes = shape[1] if len(shape) == 2 else None
    if classes is None or (isinstance(classes, int) and classes <= k):
        raise MetricError(
            f"scores [samples, classes] of more than {k} classes for {name}",
            f"a first output of shape [{', '.join(map(str, shape))}]",
            _TODO,
        )
