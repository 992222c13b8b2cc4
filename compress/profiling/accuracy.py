"""Accuracy of a build over the evaluation data, and its drop against the original, paired by sample."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.base import Session
from compress.core.tensor_spec import fixed_batch
from compress.errors import DataError, NetworkError
from compress.metrics import drop_points
from compress.metrics.metric import Values
from compress.metrics.outcomes import OutcomeCollector, Outcomes
from compress.network.sample_axis import ALONE, LoneOutputError, lone_outputs, samples_first
from compress.profiling.kept_outputs import KeptOutputs
from compress.profiling.rounding import Rounding
from compress.records.profile import LEAST_SAMPLES, Accuracy, Drop, Interval, OutputAccuracy
from compress.statistics.bootstrap import mean_interval
from compress.statistics.bounded_mean import bounded_mean_bounds
from compress.statistics.paired import tango_bounds
from compress.statistics.proportions import wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from compress.data import Batch
    from compress.data.task import Task
    from compress.metrics import Metric
    from compress.network.states import Runs

#: Two-sided level of the interval of a mean; the drop is bounded on each side at 5 %, hence at 90 %.
MEAN_LEVEL = 0.95
DROP_LEVEL = 0.90

#: Samples run at once where the network takes any number; fewer where their outputs are large.
BATCH_SIZE, _BATCH_BYTES = 16, 1 << 22


def outcomes_of(
    session: Runs,
    task: Task,
    reference: Runs | KeptOutputs | None = None,
    tick: Callable[[int], None] | None = None,
    keep: KeptOutputs | None = None,
    rounding: Rounding | None = None,
    size: int | None = None,
) -> tuple[Outcomes, ...]:
    """Return every metric's value for every evaluation sample, in order; one batch is in memory at a time.

    Args:
        session: The opened build; where a sample takes several calls, it runs over whole samples.
        task: Evaluation data and metrics, bound to the network.
        reference: The original network, which metrics of data without labels need, or what was kept of its outputs;
            None for the original itself.
        tick: Function that is called with the number of samples done after each batch.
        keep: Store that receives the original's outputs; None keeps none.
        rounding: Receives every output and the reference's; None compares none.
        size: Number of samples to run at once; None takes as many as memory allows for their outputs.

    Returns:
        The outcomes of each of the task's metrics, in their order.

    Raises:
        NetworkError: The outputs hold NaN or infinity, and a metric of labels reads them.
        DataError: A batch does not fit the network.
    """
    if task.whole is not None:
        session = task.whole.over(session)
        if reference is not None and not isinstance(reference, KeptOutputs):
            reference = task.whole.over(reference)
    kept_outputs = reference if isinstance(reference, KeptOutputs) else None
    if kept_outputs is not None and kept_outputs.batch_size is not None:
        at_once, lone = kept_outputs.batch_size, kept_outputs.lone
    else:
        at_once, lone = sizes_at_once(session, task)
        if reference is not None and not isinstance(reference, KeptOutputs):
            other, also = sizes_at_once(reference, task)
            at_once, lone = min(at_once, other), lone | also
        at_once = size or at_once
    while True:
        try:
            return _outcomes(session, task, reference, tick, keep, at_once, lone, rounding)
        except LoneOutputError as error:  # one sample each so far, and not of this one
            if (
                kept_outputs is not None
                or error.output in lone
                or fixed_batch(session.inputs) not in (None, 1)
            ):
                raise
            at_once, lone = 1, lone | {error.output}


def _outcomes(
    session: Runs,
    task: Task,
    reference: Runs | KeptOutputs | None,
    tick: Callable[[int], None] | None,
    keep: KeptOutputs | None,
    size: int,
    lone: frozenset[str],
    rounding: Rounding | None = None,
) -> tuple[Outcomes, ...]:
    """Return the outcomes as :func:`outcomes_of` does, for a batch size; ``lone`` outputs belong to one sample."""
    collector = OutcomeCollector(task.metrics)
    strict = _read_by_labels(session, task)
    done = 0
    for number, batch in enumerate(task.evaluation.batches(size)):
        outputs = forward(session, batch, strict, lone)
        original_outputs = None
        if collector.needs_reference or rounding is not None:
            if isinstance(reference, KeptOutputs):
                original_outputs = reference.read(number, len(outputs))
            else:
                original_outputs = outputs if reference is None else forward(reference, batch, strict, lone)
            if rounding is not None:
                rounding.add(outputs, original_outputs)
        if keep is not None:
            keep.add(number, outputs)
        collector.add(outputs, batch.targets, original_outputs)
        done += len(batch)
        if tick is not None:
            tick(done)
    if keep is not None:
        keep.finish(size, lone)
    return collector.outcomes()


def needs_reference(task: Task) -> bool:
    """Whether one of the task's metrics compares with the original's outputs."""
    return any(metric.needs == "reference" for metric in task.metrics)


def _read_by_labels(session: Runs, task: Task) -> set[str]:
    """Return the names of outputs that are compared with labels, where NaN is an error and not a drop."""
    names = {spec.name for spec in session.outputs}
    read = [set(metric.outputs) or names for metric in task.metrics if metric.needs == "labels"]
    return set().union(*read)


def forward(
    session: Runs,
    batch: Batch,
    finite: Collection[str] | None = None,
    lone: Collection[str] | None = None,
) -> list[np.ndarray[Any, Any]]:
    """Run one batch and return the outputs, samples along axis 0; a fixed batch is padded with the last sample.

    Args:
        session: The opened build.
        batch: Batch to run.
        finite: Names of the outputs that must hold finite numbers; None for all of them.
        lone: Names of outputs that count no samples; see :func:`compress.network.sample_axis.samples_first`.

    Raises:
        NetworkError: One of these outputs holds NaN or infinity, or does not hold as many samples as it is fed.
    """
    size, fixed = len(batch), fixed_batch(session.inputs)
    fed = batch if fixed in (None, size) else batch.rows(np.minimum(np.arange(fixed or size), size - 1))
    outputs = [
        samples_first(output, spec, size, len(fed), lone)
        for spec, output in zip(session.outputs, session.run(fed.inputs), strict=True)
    ]
    for spec, output in zip(session.outputs, outputs, strict=True):
        if finite is not None and spec.name not in finite:
            continue
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise NetworkError(
                "finite outputs",
                f"NaN or infinity in output '{spec.name}'",
                "check the data's normalisation and the network's weights",
            )
    return outputs


def accuracy_of(
    outcomes: Sequence[Outcomes],
    originals: Sequence[Outcomes] | None,
    data_sha256: str,
    rounding: float | None = None,
) -> Accuracy:
    """Summarise outcomes, with the drop against the original where given; the worst output's drop decides.

    Args:
        outcomes: Outcomes of this build, metric by metric; :func:`shown` selects the one to show.
        originals: Outcomes of the original network on the same samples; None for the original itself.
        data_sha256: Hash of the evaluation data.
        rounding: Largest difference from the original's outputs; see :attr:`compress.records.profile.Drop.rounding`.

    Raises:
        DataError: There is no sample.
    """
    if not len(outcomes[0]):
        raise DataError("evaluation samples", "none", "give data with at least two samples")
    drops = [
        None if drop is None else replace(drop, rounding=rounding) for drop in _drops(outcomes, originals)
    ]
    main = outcomes[_position(outcomes, drops)]
    shown_values, several = _shown(main), len(outcomes) > 1
    names = [
        outcome.metric.outputs[0] if outcome.metric.outputs else outcome.metric.name for outcome in outcomes
    ]
    if several:
        drops = [
            None if drop is None else replace(drop, output=name)
            for drop, name in zip(drops, names, strict=True)
        ]
    return Accuracy(
        metric=main.metric.name,
        mean=float(shown_values.mean()),
        interval=Interval(*_mean_bounds(main, shown_values), MEAN_LEVEL),
        samples=len(main),
        data_sha256=data_sha256,
        right_or_wrong=main.metric.right_or_wrong,
        higher_is_better=main.metric.higher_is_better,
        drop=max(
            (drop for drop in drops if drop is not None), key=lambda drop: drop.interval.high, default=None
        ),
        kept=None if main.shown is None else float(main.values.mean()),
        percent=main.metric.unit == "%",
        beside=main.beside,
        outputs=tuple(
            OutputAccuracy(name, output.metric.name, float(_shown(output).mean()), drop, output.beside)
            for name, output, drop in zip(names, outcomes, drops, strict=True)
        )
        if several
        else (),
    )


def shown(outcomes: Sequence[Outcomes], originals: Sequence[Outcomes] | None) -> Outcomes:
    """Return the outcomes that represent a build: of the targets' metric, else of the output with the worst drop.

    Args:
        outcomes: Outcomes of the build, metric by metric.
        originals: Outcomes of the original network on the same samples; None for the original itself.
    """
    return outcomes[_position(outcomes, _drops(outcomes, originals))]


def _drops(outcomes: Sequence[Outcomes], originals: Sequence[Outcomes] | None) -> list[Drop | None]:
    if originals is None:
        return [None] * len(outcomes)
    return [
        drop_of(ours.values, theirs.values, ours.metric)
        for ours, theirs in zip(outcomes, originals, strict=True)
    ]


def _position(outcomes: Sequence[Outcomes], drops: Sequence[Drop | None]) -> int:
    if outcomes[0].metric.needs == "labels":
        return 0
    return max(range(len(drops)), key=lambda index: -1.0 if drops[index] is None else _worst(drops[index]))


def _worst(drop: Drop | None) -> float:
    return 0.0 if drop is None else drop.interval.high


def originals_of(outcomes: Sequence[float], task: Task) -> tuple[Outcomes, ...]:
    """Return the original's outcomes of every metric, from the recorded ones of the first.

    Against itself it has the best value that there is on every sample.

    Args:
        outcomes: Outcomes by the first metric, as :attr:`compress.records.profile.Profile.outcomes` keeps them.
        task: Task with the metrics.
    """
    kept_outcomes = np.array(outcomes, dtype=np.float64)
    further = [Outcomes(metric, np.ones(len(kept_outcomes))) for metric in task.further]
    return (Outcomes(task.metric, kept_outcomes), *further)


def drop_of(values: Values, original: Values, metric: Metric, alpha: float = (1 - DROP_LEVEL) / 2) -> Drop:
    """Return the accuracy drop with the bounds that decide on non-inferiority.

    Right-or-wrong metrics take Tango's score bounds (Statistics in Medicine 17, 1998), which hold their level down
    to small n where Wald's do not; others Gaffke's (:mod:`compress.statistics.bounded_mean`), which hold it where few
    samples change. Where nothing says what values a sample can have, that is the range of those that were seen.

    Args:
        values: Outcomes of the build, float64 ``(n,)``, at least one.
        original: Outcomes of the original on the same samples, float64 ``(n,)``.
        metric: Metric of these outcomes.
        alpha: Error probability of each bound alone, in (0, 0.5).
    """
    points = drop_points(metric, float(original.mean()), float(values.mean()))
    if metric.right_or_wrong:
        lost = int(((original == 1) & (values == 0)).sum())
        won = int(((original == 0) & (values == 1)).sum())
        low, high = tango_bounds(lost, won, len(values), alpha)
        bounds = (100 * low, 100 * high)
    else:
        lowest, highest = metric.span or (
            float(min(values.min(), original.min())),
            float(max(values.max(), original.max())),
        )
        differences = original - values
        ends = (float(original.min()) - highest, float(original.max()) - lowest)
        low, high = bounded_mean_bounds(differences, *ends, alpha)
        baseline = float(original.mean())
        worse = sorted(drop_points(metric, baseline, baseline - difference) for difference in (low, high))
        bounds = (worse[0], worse[1])
    return Drop(
        points,
        Interval(*bounds, 1 - 2 * alpha),
        churn=float((values != original).mean()),
        relative=not metric.right_or_wrong and float(original.mean()) != 1.0,
    )


def decidable(metric: Metric, samples: int) -> bool:
    """Whether there are enough samples to decide on a mean of right-or-wrong outcomes, or of other values."""
    return metric.right_or_wrong or samples >= LEAST_SAMPLES


def evidence_notes(metrics: Sequence[Metric], samples: int, max_drop: float) -> tuple[str, ...]:
    """Return at most one line: a note where there are too few samples for any build to pass.

    Args:
        metrics: Metrics that builds are judged by.
        samples: Number of evaluation samples.
        max_drop: Margin of the accuracy drop, in points.
    """
    same = np.ones(samples)
    bounds = [
        drop_of(same, same, metric).interval.high
        for metric in metrics
        if metric.right_or_wrong or metric.span == (0.0, 1.0)
    ]
    return _evidence(samples, max(bounds, default=0.0), max_drop)


def evidence_of_original(values: Values, metric: Metric, max_drop: float) -> tuple[str, ...]:
    """Return at most one line, as :func:`evidence_notes`, for a metric whose range only the original's values tell.

    Args:
        values: The original's values of all samples, float64 ``(n,)``, at least one.
        metric: Metric of these values.
        max_drop: Margin of the accuracy drop, in points.
    """
    if metric.right_or_wrong or metric.span is not None or not decidable(metric, len(values)):
        return ()  # told before anything is measured, or by the verdict
    least = drop_of(values, values, metric).interval.high
    return _evidence(len(values), least, max_drop, "only where they gain") if math.isfinite(least) else ()


def _evidence(samples: int, least: float, max_drop: float, others: str = "cannot") -> tuple[str, ...]:
    """Return a note where ``least`` points of drop are possible although nothing changes, and that is too much."""
    if least <= max_drop:
        return ()
    finding = (
        f"{samples} evaluation samples cannot show a drop of at most {max_drop:g} points: even where no answer "
        f"changes, up to {least:.2f} are possible; builds that compute the same in fp32 can pass, others {others}; "
    )
    if max_drop <= 0:  # no number of samples would
        return (f"{finding}give a wider margin (--max-drop)",)
    # The bound falls as one over the samples.
    needed = math.ceil(samples * least / max_drop / 10) * 10
    return (f"{finding}give about {needed} samples, or a wider margin (--max-drop)",)


def batch_size(session: Runs, task: Task) -> int:
    """Return the number of samples to run at once, as memory allows for their outputs."""
    return sizes_at_once(session, task)[0]


def sizes_at_once(session: Runs, task: Task) -> tuple[int, frozenset[str]]:
    """Return the number of samples to run at once, and the outputs that belong to one sample as a whole."""
    fixed = fixed_batch(session.inputs)
    if fixed is not None and fixed > 1:
        return fixed, frozenset()
    if task.whole is not None and task.whole.one_by_one:
        return BATCH_SIZE, frozenset()
    singles = list(islice(task.evaluation.batches(1), ALONE))
    sizes: list[int] = []

    def run(feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        outputs = session.run(feeds)
        sizes.append(sum(array.nbytes for array in (*outputs, *feeds.values())))
        return outputs

    lone = lone_outputs(run, singles, session.outputs, twice=fixed is None)
    if lone or fixed == 1:
        return 1, lone
    asked = session.at_once(sizes[0]) if isinstance(session, Session) else None
    return asked or max(1, min(BATCH_SIZE, _BATCH_BYTES // max(1, sizes[0]))), lone


def _shown(outcomes: Outcomes) -> Values:
    return outcomes.values if outcomes.shown is None else outcomes.shown


def _mean_bounds(outcomes: Outcomes, shown: Values) -> tuple[float, float]:
    metric = outcomes.metric
    if metric.unit == "%" and np.isin(shown, (0.0, 1.0)).all():
        return wilson(int(shown.sum()), len(shown), MEAN_LEVEL)
    if metric.span is not None:
        return bounded_mean_bounds(shown, *metric.span, (1 - MEAN_LEVEL) / 2)
    return mean_interval(shown, MEAN_LEVEL, seed=0)
