"""Continuous numbers of streams: as :mod:`compress.metrics.unlabelled.values`, with the frames of all streams together.

With y the build's numbers at frame t of a stream and y0 the original's, f the features of a frame and σ_f the standard
deviation of feature f over all frames of all streams::

    error = min(1, sqrt(mean over f of (mean over t of (y_tf - y0_tf)²) / σ_f²))

A frame in which the feature hardly varies between streams, such as the silence before a word, is measured in what it
varies by over the whole stream, and an error that grows from frame to frame counts by its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.metrics.metric import Metric, Values
from compress.metrics.unlabelled.rows import Array, Floats, by_pair, comparable, kept_metric, lost_samples
from compress.metrics.unlabelled.values import MOST_FEATURES, units


@dataclass(frozen=True)
class _Row:
    """Sums of one stream, float64 ``(features,)`` each, or ``(1,)`` where there are too many features.

    Attributes:
        mean: Mean of the original's numbers over its frames.
        square: Mean of their squares.
        error: Mean of the squared differences.
        lost: Whether the build gives NaN or infinity where the original gives a number.
    """

    mean: Floats
    square: Floats
    error: Floats
    lost: bool


def stream_value_metric(name: str, index: int) -> Metric:
    """Judge an output that holds continuous numbers of every frame, ``(streams, frames, …)``.

    Args:
        name: Name of the output.
        index: Position among the outputs.
    """
    return kept_metric(name, by_pair(_rows, name, index), over_data=_kept)


def _rows(ours: Array, theirs: Array) -> list[_Row]:
    lost = lost_samples(ours, theirs)
    first, second = (values.reshape(*values.shape[:2], -1) for values in comparable(ours, theirs))
    axes = (1,) if second.shape[-1] <= MOST_FEATURES else (1, 2)
    mean, square, error = (
        values.mean(axis=axes).reshape(len(second), -1)
        for values in (second, second**2, (first - second) ** 2)
    )
    return [_Row(mean[row], square[row], error[row], bool(lost[row])) for row in range(len(second))]


def _kept(rows: Sequence[_Row]) -> Values:
    if not rows:
        return np.empty(0)
    square = np.mean([row.square for row in rows], axis=0)
    variance = square - np.mean([row.mean for row in rows], axis=0) ** 2
    deviation = units(np.sqrt(np.maximum(variance, 0)), np.sqrt(square))
    errors = np.array([np.sqrt(np.mean(row.error / deviation**2)) for row in rows])
    return 1 - np.where([row.lost for row in rows], 1.0, np.minimum(errors, 1.0))
