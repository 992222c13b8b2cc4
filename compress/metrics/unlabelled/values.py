"""Continuous numbers: their error, as a share of what the original's numbers vary by.

With y the build's numbers of a sample and y0 the original's, f the features of a sample and σ_f the standard deviation
of feature f over all samples::

    error = min(1, sqrt(mean over f of ((y_f - y0_f) / σ_f)²))

An offset that all samples share is no part of what the numbers tell, and features in small units count like those in
large ones: a build that gives the same pose for every input has lost all of it, however close it is on average. A
feature that hardly varies, by less than a thousandth of its size, is measured in that thousandth. Outputs of many
features, such as images, take one σ: that of the numbers inside the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.metrics.metric import Metric, Values
from compress.metrics.unlabelled.rows import (
    Array,
    Floats,
    by_pair,
    by_sample,
    comparable,
    kept_metric,
    lost_samples,
)

#: Features of a sample up to which each is measured in its own deviation.
MOST_FEATURES = 4096

#: A feature's deviation counts as this share of its size at the least.
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class ValueRow:
    """One sample.

    Attributes:
        original: Features of the original, float32 ``(features,)``; None where there are too many.
        error: Differences of the features, float32 ``(features,)``; None where there are too many.
        square_error: Mean square of the differences.
        variance: Variance of the original's features inside the sample.
        lost: Whether the build gives NaN or infinity where the original gives a number.
    """

    original: Array | None
    error: Array | None
    square_error: float
    variance: float
    lost: bool


def value_metric(name: str, index: int) -> Metric:
    """Judge an output that holds continuous numbers.

    Args:
        name: Name of the output.
        index: Position among the outputs.
    """
    return kept_metric(name, by_pair(value_rows, name, index), over_data=_kept)


def value_rows(ours: Array, theirs: Array) -> list[ValueRow]:
    """Return the rows of samples from which errors follow once all samples are seen.

    Args:
        ours: Numbers of the build, ``(n, …)``.
        theirs: Numbers of the original, of the same shape.
    """
    lost = lost_samples(ours, theirs)
    first, second = map(by_sample, comparable(ours, theirs))
    errors = first - second
    few = second.shape[1] <= MOST_FEATURES
    return [
        ValueRow(
            second[row].astype(np.float32) if few else None,
            errors[row].astype(np.float32) if few else None,
            float(np.mean(errors[row] ** 2)) if errors.shape[1] else 0.0,
            float(second[row].var()) if second.shape[1] else 0.0,
            bool(lost[row]),
        )
        for row in range(len(second))
    ]


def relative_error(rows: Sequence[ValueRow]) -> Values:
    """Return the error of each sample, from 0 to 1, ``(n,)``."""
    if not rows:
        return np.empty(0)
    sizes = {None if row.original is None else len(row.original) for row in rows}
    errors = _by_feature(rows) if len(sizes) == 1 and None not in sizes else _as_a_whole(rows)
    return np.where([row.lost for row in rows], 1.0, np.minimum(errors, 1.0))


def _by_feature(rows: Sequence[ValueRow]) -> Floats:
    original = np.array([row.original for row in rows], dtype=np.float64)
    errors = np.array([row.error for row in rows], dtype=np.float64)
    if not original.shape[1]:
        return np.zeros(len(rows))
    deviation = units(original.std(axis=0), np.sqrt(np.mean(original**2, axis=0)))
    relative_errors: Floats = np.sqrt(np.mean((errors / deviation) ** 2, axis=1))
    return relative_errors


def units(deviation: Floats, size: Floats) -> Floats:
    """Return the unit of the error of each feature, ``(features,)``, > 0.

    Args:
        deviation: Standard deviation of the original's numbers, ``(features,)``.
        size: Root mean square of the original's numbers, ``(features,)``.
    """
    deviation = np.maximum(deviation, LEAST_DEVIATION * size)
    # A feature that is always 0 tells nothing by itself: it is measured as the others are.
    others = float(np.sqrt(np.mean(deviation[deviation > 0] ** 2))) if (deviation > 0).any() else 1.0
    return np.where(deviation > 0, deviation, others)


def _as_a_whole(rows: Sequence[ValueRow]) -> Floats:
    variance = float(np.mean([row.variance for row in rows]))
    square_errors = np.array([row.square_error for row in rows])
    if variance <= 0:
        return np.where(square_errors > 0, 1.0, 0.0)
    errors: Floats = np.sqrt(square_errors / variance)
    return errors


def _kept(rows: Sequence[ValueRow]) -> Values:
    return 1 - relative_error(rows)
