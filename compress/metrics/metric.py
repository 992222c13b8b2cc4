"""The interface of metrics: a value for every sample, so that two networks can be compared sample by sample.

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

from compress.core.renamed_fields import renamed_fields
from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError

Array = NDArray[Any]
Values = NDArray[np.float64]
PerSample = Callable[[Sequence[Array], Array | None, Sequence[Array] | None], Iterable[Any]]


@renamed_fields(told="shown")
@dataclass(frozen=True)
class Metric:
    """A metric: the meaning of 'accuracy' for a task.

    Attributes:
        name: Name that ``--metric`` takes.
        per_sample: Function of ``(outputs, targets, reference)`` for a batch of n samples that returns float64
            ``(n,)``, finite; or, where ``over_data`` is set, n rows of any kind. ``outputs`` has an array ``(n, …)``
            for each output of the network, ``reference`` those of the original network, or None.
        needs: Data that it needs: ``labels`` (targets of any kind) or ``reference``.
        right_or_wrong: Whether every value is 0 or 1; gates then use tests of paired proportions.
        higher_is_better: Direction of the metric.
        unit: Unit of the values: ``%`` where they are shares of 1 and shown times 100; else empty.
        class_labels: Whether targets must be class labels, int64 ``(n,)``.
        fit: Function that fits the metric to a network's outputs, or raises MetricError; None where it fits any.
        over_data: Function from the rows of all samples, in order, to float64 ``(n,)``, finite, whose mean is the
            figure; None where the rows already are these values.
        shown: Function from the rows of all samples, in order, to float64 ``(n,)``, whose mean is shown where another
            figure decides; None where the values that decide are shown.
        beside: Function from the rows of all samples to further figures by name, for information only; None for none.
        span: Smallest and largest value that a sample can have; None where unknown. Bounds of a mean of few samples use
            it.
        outputs: Names of the outputs that it judges; empty for all of them.
        unlabelled: Form of the metric with the original's outputs in place of targets, for data without labels; None
            where it has none.
        sequences: Whether it judges a whole sequence of answers at once, as metrics of transcripts and the user's own
            do.
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
    shown: Callable[[Sequence[Any]], Values] | None = None
    beside: Callable[[Sequence[Any]], dict[str, float]] | None = None
    span: tuple[float, float] | None = None
    outputs: tuple[str, ...] = ()
    unlabelled: Metric | None = None
    sequences: bool = False

    def fitted(self, outputs: Sequence[TensorSpec]) -> Metric:
        """Return this metric for a network with these outputs.

        Raises:
            MetricError: The metric does not apply to such outputs.
        """
        return self if self.fit is None else self.fit(outputs)

    def values(self, rows: Sequence[Any]) -> Values:
        """Return a value for each sample, float64 ``(n,)``, from the results of :attr:`per_sample` in order."""
        return np.asarray(rows, dtype=np.float64) if self.over_data is None else self.over_data(rows)


def of_first_output(metric: Metric) -> Metric:
    """Return a metric that reads a network's first output, and records its name once it is known.

    Args:
        metric: Metric without :attr:`Metric.fit`.
    """
    return replace(metric, fit=lambda outputs: replace(metric, outputs=(outputs[0].name,)))


def drop_points(metric: Metric, baseline_mean: float, candidate_mean: float) -> float:
    """Return how much worse the candidate is, in points; negative where it is better.

    For right-or-wrong metrics a point is a percentage point: 91 % to 90 % is 1. For all others it is one percent of
    the baseline's mean: an error of 0.50 that becomes 0.51 drops 2 points.

    Returns:
        The drop; infinite where the baseline's mean is 0 and the candidate's is not, for metrics that are not
        right-or-wrong.
    """
    worse_by = baseline_mean - candidate_mean if metric.higher_is_better else candidate_mean - baseline_mean
    if metric.right_or_wrong:
        return 100 * worse_by
    if baseline_mean == 0:
        return 0.0 if worse_by == 0 else math.copysign(math.inf, worse_by)
    return 100 * worse_by / abs(baseline_mean)


def required_targets(metric: str, targets: Array | None) -> Array:
    """Return the targets; raise an error where there are none.

    Raises:
        MetricError: There are no targets.
    """
    if targets is None:
        raise MetricError(f"targets for {metric}", "data without y", "add y, or use the metric 'agreement'")
    return targets


def finite(metric: str, values: Values) -> Values:
    """Return the values; raise an error where some are NaN or infinite.

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
