"""The share of equal values, for whole numbers and texts."""

from __future__ import annotations

import numpy as np

from compress.metrics.metric import Metric, Values
from compress.metrics.unlabelled.rows import Array, by_pair, by_sample, kept_metric


def equality_metric(name: str, index: int) -> Metric:
    """Judge an output of integers, such as class numbers, or of texts.

    Args:
        name: Name of the output.
        index: Position among the outputs.
    """
    return kept_metric(name, by_pair(_shares, name, index))


def _shares(ours: Array, theirs: Array) -> Values:
    equal = by_sample(np.asarray(ours == theirs))
    return equal.mean(axis=1) if equal.shape[1] else np.ones(len(ours))
