"""Metrics of single answers, for streams of them: a stream's value is the mean of its frames'.

Frames of one stream depend on each other, so that a stream is the sample: intervals are over streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values, required_targets


def over_frames(metric: Metric) -> Metric:
    """Return the metric for outputs and targets ``(streams, frames, …)``.

    Args:
        metric: Metric of single answers; one that judges a whole sequence gets whole streams and is returned as it is.
    """
    if metric.sequences:
        return metric
    judge = metric.per_sample

    def per_sample(
        outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> list[list[Any]]:
        """Return the rows of the frames of each stream."""
        true_values = required_targets(metric.name, targets)
        streams, frames = outputs[0].shape[:2]
        if true_values.shape[:2] != (streams, frames):
            raise MetricError(
                f"a target for each of {frames} frames for {metric.name}, y of shape [streams, frames, …]",
                f"y: {list(true_values.shape[1:])} a stream",
                "repeat it for every frame, np.repeat(y[:, None], frames, axis=1), or give package.module:callable, "
                "which is given whole streams",
            )
        others = None if reference is None else _as_frames(reference)
        ours, (true_values,) = _as_frames(outputs), _as_frames([true_values])
        if true_values.ndim == 1 and ours[0].shape[1:] == (1,):  # one score a frame, and a number for it
            true_values = true_values[:, None]
        rows = list(judge(ours, true_values, others))
        return [rows[start : start + frames] for start in range(0, len(rows), frames)]

    def over_data(rows: Sequence[list[Any]]) -> Values:
        return _means(metric.values(_flat(rows)), rows)

    def fit(outputs: Sequence[TensorSpec]) -> Metric:
        return over_frames(metric.fitted([_of_a_frame(spec) for spec in outputs]))

    shown, beside = metric.shown, metric.beside
    return replace(
        metric,
        per_sample=per_sample,
        right_or_wrong=False,
        fit=fit,
        over_data=over_data,
        shown=None if shown is None else lambda rows: _means(shown(_flat(rows)), rows),
        beside=None if beside is None else _flattened(beside),
    )


def _flattened(function: Callable[[Sequence[Any]], Any]) -> Callable[[Sequence[Any]], Any]:
    return lambda rows: function(_flat(rows))


def _flat(rows: Sequence[list[Any]]) -> list[Any]:
    return [row for stream in rows for row in stream]


def _means(values: Values, rows: Sequence[list[Any]]) -> Values:
    """Return the mean of each stream's values."""
    ends = np.cumsum([len(stream) for stream in rows])[:-1]
    return np.array([part.mean() for part in np.split(values, ends)])


def _as_frames(arrays: Sequence[Array]) -> list[Array]:
    return [array.reshape(-1, *array.shape[2:]) for array in arrays]


def _of_a_frame(spec: TensorSpec) -> TensorSpec:
    return replace(spec, shape=(*spec.shape[:1], *spec.shape[2:]))
