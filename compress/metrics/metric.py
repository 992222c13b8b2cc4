"""What a metric is: a value for every sample, so that two networks can be compared sample by sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compress.errors import MetricError
from compress.tensors import TensorSpec

Array = NDArray[Any]
Values = NDArray[np.float64]
PerSample = Callable[[Sequence[Array], Array | None, Sequence[Array] | None], Values]


@dataclass(frozen=True)
class Metric:
    """What 'accuracy' means for a task.

    Attributes:
        name: As ``--metric`` takes it.
        per_sample: ``(outputs, targets, reference)`` of a batch to float64 ``(n,)``, finite. ``outputs`` has an array
            ``(n, …)`` for each output of the network, ``reference`` the same of the original network, or None.
        needs: ``labels`` (targets of any kind) or ``reference``.
        right_or_wrong: Every value is 0 or 1; then gates use tests of paired proportions.
        higher_is_better: Direction.
        unit: ``%`` where values are shares of 1 and shown times 100; else empty.
        class_labels: Whether targets must be class labels, int64 ``(n,)``.
        fit: Narrows the metric to a network's outputs; None where it fits any. Raises MetricError.
    """

    name: str
    per_sample: PerSample
    needs: Literal["labels", "reference"]
    right_or_wrong: bool
    higher_is_better: bool
    unit: str
    class_labels: bool = False
    fit: Callable[[Sequence[TensorSpec]], Metric] | None = None

    def fitted(self, outputs: Sequence[TensorSpec]) -> Metric:
        """This metric for a network with these outputs.

        Raises:
            MetricError: It says nothing about such outputs.
        """
        return self if self.fit is None else self.fit(outputs)


def drop_points(metric: Metric, baseline_mean: float, candidate_mean: float) -> float:
    """How much worse the candidate is, in points; negative where it is better.

    For right-or-wrong metrics a point is a percentage point: 91 % to 90 % is 1. For all others it is one percent of
    the baseline's mean: an error of 0.50 that becomes 0.51 drops 2 points.

    Returns:
        Infinite where the baseline's mean is 0 and the candidate's is not, for metrics that are not right-or-wrong.
    """
    worse_by = baseline_mean - candidate_mean if metric.higher_is_better else candidate_mean - baseline_mean
    if metric.right_or_wrong:
        return 100 * worse_by
    if baseline_mean == 0:
        return 0.0 if worse_by == 0 else math.copysign(math.inf, worse_by)
    return 100 * worse_by / abs(baseline_mean)


def required_targets(metric: str, targets: Array | None) -> Array:
    """The targets, or a message that there are none.

    Raises:
        MetricError: There are no targets.
    """
    if targets is None:
        raise MetricError(f"targets for {metric}", "data without y", "add y, or use the metric 'agreement'")
    return targets


def finite(metric: str, values: Values) -> Values:
    """The values, or a message that some are NaN or infinite.

    Raises:
        MetricError: A value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        sample = int(np.argmin(np.isfinite(values)))
        raise MetricError(
            f"a finite {metric}",
            f"{values[sample]} for sample {sample} of a batch",
            "check outputs and targets",
        )
    return values
