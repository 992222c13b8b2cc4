"""The error of numbers against target numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values, finite, required_targets
from compress.metrics.options import NamedMetric

_NAME = "mean-error"


def mean_error() -> Metric:
    """Return each sample's mean absolute error: |output - target| over all axes but the first; lower is better.

    The first output and the targets hold the same number of values a sample; axes of length 1 do not matter.
    """

    def fit(outputs: Sequence[TensorSpec]) -> Metric:
        return replace(metric, outputs=(outputs[0].name,))

    metric = Metric(
        _NAME, _per_sample, "labels", right_or_wrong=False, higher_is_better=False, unit="", fit=fit
    )
    return metric


MEAN_ERROR = NamedMetric(mean_error, {})


def _per_sample(
    outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
) -> Values:
    output, target = outputs[0], required_targets(_NAME, targets)
    if _lengths(output) != _lengths(target):
        raise MetricError(
            f"targets like the first output, {list(output.shape[1:])} a sample",
            f"y: {list(target.shape[1:])} a sample",
            "make y the same shape, or choose another metric",
        )
    error = np.abs(output.astype(np.float64).reshape(len(output), -1) - target.reshape(len(target), -1))
    return finite(_NAME, error.mean(axis=1))


def _lengths(array: Array) -> list[int]:
    return [len(array), *(length for length in array.shape[1:] if length != 1)]
