"""What the values of a data-set metric must be, the slow way: the figure anew without each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compress.metrics import Metric

Array = np.ndarray[Any, Any]


def rows_of(metric: Metric, output: Array, targets: Array, batch: int = 3) -> list[Any]:
    """What the metric keeps, batch by batch, as a run over data keeps it."""
    rows: list[Any] = []
    for start in range(0, len(output), batch):
        rows.extend(metric.per_sample([output[start : start + batch]], targets[start : start + batch], None))
    return rows


def figure(metric: Metric, rows: Sequence[Any]) -> float:
    """The mean of the values."""
    values = metric.values(rows)
    assert values.dtype == np.float64
    assert values.shape == (len(rows),)
    return float(values.mean())


def by_leaving_out(metric: Metric, rows: Sequence[Any]) -> Array:
    """The jackknife's values, from one evaluation of the metric for each sample."""
    whole = figure(metric, rows)
    without = np.array([figure(metric, [*rows[:i], *rows[i + 1 :]]) for i in range(len(rows))])
    return whole + (len(rows) - 1) * (without.mean() - without)
