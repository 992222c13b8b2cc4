"""Accuracy of a build over the evaluation data, and its drop against the original, paired by sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError, NetworkError
from compress.metrics import drop_points
from compress.metrics.outcomes import OutcomeCollector
from compress.record import Accuracy, Drop, Interval
from compress.statistics.bootstrap import mean_interval, paired_mean_difference_bounds
from compress.statistics.paired import tango_bounds
from compress.statistics.proportions import wilson
from compress.tensors import fixed_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from compress.backends.base import Session
    from compress.data import Batch
    from compress.metrics import Metric
    from compress.task import Task

Outcomes = np.ndarray[Any, np.dtype[np.float64]]

#: Two-sided level of the interval of a mean; the drop is bounded on each side at 5 %, hence at 90 %.
MEAN_LEVEL = 0.95
DROP_LEVEL = 0.90

#: Samples run at once where the network takes any number.
BATCH_SIZE = 64


def outcomes_of(
    session: Session, task: Task, reference: Session | None = None, tick: Callable[[int], None] | None = None
) -> Outcomes:
    """The metric's value for every evaluation sample, in order; one batch in memory at a time.

    Args:
        session: The opened build.
        task: Evaluation data and metric, bound to the network.
        reference: The original network, which metrics of agreement need; None for the original itself.
        tick: Called with the number of samples done after each batch.

    Returns:
        float64 ``(n,)``.

    Raises:
        NetworkError: The outputs hold NaN or infinity.
        DataError: A batch does not fit the network.
    """
    collector = OutcomeCollector([task.metric])
    done = 0
    for batch in task.evaluation.batches(batch_size(session)):
        outputs = forward(session, batch)
        wanted = None
        if task.metric.needs == "reference":
            wanted = outputs if reference is None else forward(reference, batch)
        collector.add(outputs, batch.targets, wanted)
        done += len(batch)
        if tick is not None:
            tick(done)
    return collector.outcomes()[0].values


def forward(session: Session, batch: Batch) -> list[np.ndarray[Any, Any]]:
    """Run one batch, padded with its last sample where the network takes only a fixed number.

    Raises:
        NetworkError: The outputs hold NaN or infinity.
    """
    size = len(next(iter(batch.inputs.values())))
    fixed = fixed_batch(session.inputs)
    if fixed is None or fixed == size:
        feeds = batch.inputs
    else:
        feeds = {
            name: np.concatenate([array, np.repeat(array[-1:], fixed - size, axis=0)])
            for name, array in batch.inputs.items()
        }
    outputs = [output[:size] if output.ndim else output for output in session.run(feeds)]
    for spec, output in zip(session.outputs, outputs, strict=True):
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise NetworkError(
                "finite outputs",
                f"NaN or infinity in output '{spec.name}'",
                "check the data's normalisation and the network's weights",
            )
    return outputs


def accuracy_of(outcomes: Outcomes, original: Outcomes | None, metric: Metric, data_sha256: str) -> Accuracy:
    """Summarise outcomes, with the drop against the original's where there are any.

    Args:
        outcomes: float64 ``(n,)`` of this build.
        original: float64 ``(n,)`` of the original network on the same samples; None for itself.
        metric: Which metric they are of.
        data_sha256: Of the evaluation data.

    Raises:
        DataError: There is no sample.
    """
    if not len(outcomes):
        raise DataError("evaluation samples", "none", "give data with at least two samples")
    mean = float(outcomes.mean())
    if metric.right_or_wrong:
        low, high = wilson(int(outcomes.sum()), len(outcomes), MEAN_LEVEL)
    else:
        low, high = mean_interval(outcomes, MEAN_LEVEL, seed=0)
    return Accuracy(
        metric=metric.name,
        mean=mean,
        interval=Interval(low, high, MEAN_LEVEL),
        samples=len(outcomes),
        data_sha256=data_sha256,
        right_or_wrong=metric.right_or_wrong,
        higher_is_better=metric.higher_is_better,
        drop=None if original is None else drop_of(outcomes, original, metric),
    )


def drop_of(
    outcomes: Outcomes, original: Outcomes, metric: Metric, alpha: float = (1 - DROP_LEVEL) / 2
) -> Drop:
    """The accuracy drop in points, with the bounds that non-inferiority is decided on.

    Right-or-wrong metrics take Tango's score bounds (Statistics in Medicine 17, 1998), which hold their level down
    to small n where Wald's do not; others a seeded paired bootstrap.

    Args:
        outcomes: float64 ``(n,)`` of the build, at least one.
        original: float64 ``(n,)`` of what it is compared with, on the same samples.
        metric: Which metric they are of.
        alpha: Error of each bound alone, inside (0, 0.5).
    """
    points = drop_points(metric, float(original.mean()), float(outcomes.mean()))
    if metric.right_or_wrong:
        lost = int(((original == 1) & (outcomes == 0)).sum())
        won = int(((original == 0) & (outcomes == 1)).sum())
        low, high = tango_bounds(lost, won, len(outcomes), alpha)
        bounds = (100 * low, 100 * high)
    else:
        low, high = paired_mean_difference_bounds(original, outcomes, alpha, seed=0)
        baseline = float(original.mean())
        ends = sorted(drop_points(metric, baseline, baseline - difference) for difference in (low, high))
        bounds = (ends[0], ends[1])
    return Drop(points, Interval(*bounds, 1 - 2 * alpha), churn=float((outcomes != original).mean()))


def batch_size(session: Session) -> int:
    """Samples to run at once."""
    return fixed_batch(session.inputs) or BATCH_SIZE
