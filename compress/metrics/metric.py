"""What a metric is: a value for every sample, so that two networks can be compared sample by sample.

Some figures belong to a whole data set and not to a sample: mean average precision, the similarity of each sample's
nearest neighbour, an error in units of the outputs' spread. For these, :attr:`Metric.per_sample` keeps a row of each
sample, and :attr:`Metric.over_data` makes a value for each sample of all rows together. The mean of these values is the
figure, so that everything that compares two networks stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError

Array = NDArray[Any]
Values = NDArray[np.float64]
PerSample = Callable[[Sequence[Array], Array | None, Sequence[Array] | None], Iterable[Any]]


@dataclass(frozen=True)
class Metric:
    """What 'accuracy' means for a task.

    Attributes:
        name: As ``--metric`` takes it.
        per_sample: ``(outputs, targets, reference)`` of a batch of n samples → float64 ``(n,)``, finite; or, where
            ``over_data`` is set, n rows of any kind. ``outputs`` has an array ``(n, …)`` for each output of the
            network, ``reference`` the same of the original network, or None.
        needs: ``labels`` (targets of any kind) or ``reference``.
        right_or_wrong: Every value is 0 or 1; then gates use tests of paired proportions.
        higher_is_better: Direction.
        unit: ``%`` where values are shares of 1 and shown times 100; else empty.
        class_labels: Whether targets must be class labels, int64 ``(n,)``.
        fit: Narrows the metric to a network's outputs; None where it fits any. Raises MetricError.
        over_data: Rows of all samples, in order → float64 ``(n,)``, finite, whose mean is the figure; None where the
            rows are that already.
        told: Rows of all samples, in order → float64 ``(n,)``, whose mean is shown as the figure where another one
            decides; None where the values that decide are shown.
        beside: Rows of all samples → further figures by name, which are told and decide nothing; None for none.
        span: Smallest and largest value that a sample can have; None where that is not known. Bounds of a mean of few
            samples rest on it.
        outputs: Names of the outputs that it judges; empty for all of them.
        unlabelled: The same metric with the original's outputs in place of targets, for data without these; None where
            it has no such form.
        sequences: Whether it judges a whole sequence of answers at once, as that of a transcript does, and the
            user's own.
    """

    name: str
    per_sample: PerSample
    needs: Literal["labels", "reference"]
    right_or_wrong: bool
    higher_is_better: bool
    unit: str
    class_labels: bool = False
    fit: Callable[[Sequence[TensorSpec]], Metric] | None = None
    over_data: Callable[[Sequence[Any]], Values] | None = None
    told: Callable[[Sequence[Any]], Values] | None = None
    beside: Callable[[Sequence[Any]], dict[str, float]] | None = None
    span: tuple[float, float] | None = None
    outputs: tuple[str, ...] = ()
    unlabelled: Metric | None = None
    sequences: bool = False

    def fitted(self, outputs: Sequence[TensorSpec]) -> Metric:
        """This metric for a network with these outputs.

        Raises:
            MetricError: It says nothing about such outputs.
        """
        return self if self.fit is None else self.fit(outputs)

    def values(self, rows: Sequence[Any]) -> Values:
        """One value for each sample, float64 ``(n,)``, from what :attr:`per_sample` gave for all samples in order."""
        return np.asarray(rows, dtype=np.float64) if self.over_data is None else self.over_data(rows)


def of_first_output(metric: Metric) -> Metric:
    """The same metric, which reads a network's first output and says so once it knows its name.

    Args:
        metric: It has no :attr:`Metric.fit` of its own.
    """
    return replace(metric, fit=lambda outputs: replace(metric, outputs=(outputs[0].name,)))


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
