"""The outcomes of both sides on the same samples: run now, or recorded with the builds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compress.errors import BundleError, DataError, UsageError
from compress.gate.subject import Subject
from compress.metrics import Metric
from compress.metrics.metric import Values

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.split import RowDigest
    from compress.data.task import Task
    from compress.records.profile import Accuracy


Rows = np.ndarray[Any, np.dtype[np.int64]]


class Paired(NamedTuple):
    """Outcomes of both sides on the same samples.

    Attributes:
        outcomes: Outcomes of the candidate, float64 ``(n,)``.
        reference: Outcomes of the baseline, float64 ``(n,)``.
        metric: Metric of these outcomes.
    """

    outcomes: Values
    reference: Values
    metric: Metric

    def of(self, rows: Rows | None) -> Paired:
        """Return the outcomes of these samples alone; None for all."""
        return self if rows is None else Paired(self.outcomes[rows], self.reference[rows], self.metric)


def distinct_rows(task: Task) -> Rows | None:
    """Return the first of each set of equal samples, ascending; None where no sample is repeated."""
    first: dict[RowDigest, int] = {}
    for row, digest in enumerate(task.evaluation.digests):
        first.setdefault(digest, row)
    return None if len(first) == len(task.evaluation) else np.array(list(first.values()), dtype=np.int64)


_RUN = "give --data, so that both builds are run on it"
_OTHER_DATA = "give the data and the metric that it was recorded with, or a baseline that can be run"


def run_outcomes(
    candidate: Session, baseline: Session | None, recorded: Subject, task: Task, size: int | None = None
) -> list[Paired]:
    """Run the evaluation data through the candidate, and through the baseline where it can be run.

    Args:
        candidate: The opened build.
        baseline: The opened baseline; None takes the outcomes of ``recorded``.
        recorded: The baseline with its recorded outcomes.
        task: Evaluation data and metrics, bound to the network.
        size: Samples to run at once; None takes as many as their outputs leave room for.

    Returns:
        The outcomes of each metric; the task's own first.

    Raises:
        BundleError: The baseline was recorded on other data or with another metric, or would have to be run.
        DataError: There is no sample.
    """
    from compress.profiling.accuracy import originals_of, outcomes_of

    if not len(task.evaluation):
        raise DataError("evaluation samples", "none", "give data with at least two samples")
    if baseline is None:
        _check_recorded(recorded, task)
        reference = originals_of(_recorded(recorded).tolist(), task)
    else:
        reference = outcomes_of(baseline, task, size=size)
    outcomes = outcomes_of(candidate, task, baseline, size=size)
    return [
        _checked(ours.values, theirs.values, ours.metric)
        for ours, theirs in zip(outcomes, reference, strict=True)
    ]


def _check_recorded(recorded: Subject, task: Task) -> None:
    """Check that a recorded baseline has all that the task needs."""
    against = next((metric for metric in task.metrics if metric.needs == "reference"), None)
    if against is not None:
        what = (
            against.name if against is task.metric else f"'{', '.join(against.outputs)}', which has no labels"
        )
        problem = f"{recorded.name}: a profile, which cannot be run"
        raise BundleError(f"a baseline to run for {what}", problem, "give the bundle, or labels")
    accuracy = _accuracy(recorded, "record it with --data, or give a baseline that can be run")
    _check_same_data(task.evaluation.sha256, task.metric.name, accuracy, _OTHER_DATA)


def recorded_outcomes(candidate: Subject, baseline: Subject) -> Paired:
    """Return the outcomes that both sides have recorded.

    Raises:
        BundleError: A side has no outcomes, or they are of different data or metrics.
        DataError: There is no sample.
    """
    ours, theirs = _accuracy(candidate), _accuracy(baseline)
    _check_same_data(ours.data_sha256, ours.metric, theirs, _RUN)
    return _checked(_recorded(candidate), _recorded(baseline), _metric(ours))


def _checked(ours: Values, theirs: Values, metric: Metric) -> Paired:
    if not len(ours) or len(ours) != len(theirs):
        problem = f"{len(ours)} of the candidate and {len(theirs)} of the baseline"
        raise DataError("outcomes of the same samples, at least one", problem, "give other --data")
    return Paired(ours, theirs, metric)


def _accuracy(subject: Subject, todo: str = "give --data") -> Accuracy:
    accuracy = None if subject.profile is None else subject.profile.accuracy
    if accuracy is None:
        raise BundleError("recorded accuracy", f"none of {subject.name}", todo)
    return accuracy


def _recorded(subject: Subject) -> Values:
    return np.array(() if subject.profile is None else subject.profile.outcomes, dtype=np.float64)


def _check_same_data(sha256: str, metric: str, recorded: Accuracy, todo: str) -> None:
    if (recorded.data_sha256, recorded.metric) != (sha256, metric):
        raise BundleError(
            f"a baseline recorded with {metric} on data {sha256[:12]}…",
            f"{recorded.metric} on {recorded.data_sha256[:12]}…",
            todo,
        )


def _metric(accuracy: Accuracy) -> Metric:
    """Return the recorded metric, as far as recorded outcomes need it: it may be a function of the user."""

    def taken_already(*_: Any) -> Any:
        raise UsageError(f"recorded outcomes of {accuracy.metric}", "a batch", "give --data")

    return Metric(
        accuracy.metric, taken_already, "labels", accuracy.right_or_wrong, accuracy.higher_is_better, ""
    )
