"""Selection of a network's metrics: one for its targets, and one for every output that this does not read.

Every output counts. An output that no metric of the targets reads is held against the original's, by what it holds
(:mod:`compress.metrics.output_kinds`), and the metric with the worst drop decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compress.core.suggestions import did_you_mean
from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric
from compress.metrics.output_kinds import KINDS, OutputKind
from compress.metrics.over_frames import over_frames
from compress.metrics.unlabelled import unlabelled_metric
from compress.metrics.unlabelled.rows import NAME

#: What each output is judged by, where the caller names it: a kind of :data:`KINDS`, or a metric.
ByOutput = Mapping[str, "str | Metric"]


def select(
    metric: Metric,
    by_output: ByOutput,
    outputs: Sequence[TensorSpec],
    kinds: Sequence[OutputKind],
    *,
    streams: bool = False,
) -> tuple[Metric, ...]:
    """Return the metrics of a network, the one for its targets first.

    Args:
        metric: Metric of the task; :func:`compress.metrics.agreement` judges every output against the original.
        by_output: Kind or metric that the caller names for single outputs, by their names.
        outputs: Outputs of the network.
        kinds: Kinds of the outputs.
        streams: Whether outputs hold every frame of a stream, ``(streams, frames, …)``.

    Raises:
        MetricError: An output's name is unknown, a kind does not fit it, or no output is left to judge.
    """
    if streams:
        metric = metric if metric.name == NAME else over_frames(metric)
        by_output = {
            name: over_frames(choice) if isinstance(choice, Metric) else choice
            for name, choice in by_output.items()
        }
    names = [spec.name for spec in outputs]
    for name in by_output:
        if name not in names:
            todo = did_you_mean(name, names) or f"choose from {', '.join(names)}"
            raise MetricError("an output of the network, to judge by a metric of its own", f"'{name}'", todo)
    kinds = [_told(kind, by_output.get(kind.name), outputs[kind.index]) for kind in kinds]
    of_outputs = [
        _restricted(choice, names.index(name), outputs)
        for name, choice in by_output.items()
        if isinstance(choice, Metric)
    ]
    read = {name for output_metric in of_outputs for name in output_metric.outputs}
    if metric.name != NAME:
        main = _fitted(metric, outputs, kinds, read)
        of_outputs.insert(0, main)
        read |= set(main.outputs or names)
    others = [
        unlabelled_metric(kind, tuple(kinds), streams=streams)
        for kind in kinds
        if kind.name not in read and kind.kind != "ignore"
    ]
    chosen = (*of_outputs, *others)
    if not chosen:
        raise MetricError("at least one output to judge", "all of them ignored", "leave one to be judged")
    return chosen


def judging_notes(metrics: Sequence[Metric], kinds: Sequence[OutputKind]) -> tuple[str, ...]:
    """Return notes on how outputs without labels are judged, one line each; empty where all have labels.

    Args:
        metrics: Metrics of the network.
        kinds: Kinds of the outputs.
    """
    judged = {name for metric in metrics if metric.name == NAME for name in metric.outputs}
    unlabelled = [kind for kind in kinds if kind.name in judged]
    if not unlabelled:
        return ()
    is_all = len(judged) == len(kinds)
    lines = [
        f"{'without labels' if is_all else 'outputs without labels'}, judged by what the original loses: "
        f"{'; '.join(map(str, unlabelled))}; labels would tell the true drop"
    ]
    lines += [
        f"if '{kind.name}' holds class scores, say so: --metric {kind.name}=classes"
        for kind in unlabelled
        if kind.kind == "values" and kind.reason.startswith("nothing")
    ]
    return tuple(lines)


def _told(kind: OutputKind, choice: str | Metric | None, spec: TensorSpec) -> OutputKind:
    """Return a kind as the caller names it, else unchanged."""
    if not isinstance(choice, str):
        return kind
    if choice not in KINDS:
        todo = did_you_mean(choice, KINDS) or f"choose one of {', '.join(KINDS)}, or a metric"
        raise MetricError(f"a kind of output for '{kind.name}'", f"'{choice}'", todo)
    axis = kind.axis
    if choice in ("classes", "tokens") and axis is None:
        axis = {2: 1, 3: 2}.get(len(spec.shape), 1)
        if len(spec.shape) < 2 or spec.shape[axis] == 1:
            raise MetricError(
                f"'{kind.name}' with class scores, [samples, classes] or more axes",
                f"shape [{', '.join(map(str, spec.shape))}]",
                "name another kind for it",
            )
    # mypy: the name was looked up above.
    return replace(kind, kind=choice, axis=axis, reason="as the caller says")  # type: ignore[arg-type]


def _fitted(
    metric: Metric, outputs: Sequence[TensorSpec], kinds: Sequence[OutputKind], names_taken: set[str]
) -> Metric:
    """Fit the metric of the targets to its output: the first suitable one, class scores preferred."""
    if not metric.class_labels:
        return metric.fitted(outputs)
    order = sorted(
        (kind for kind in kinds if kind.name not in names_taken), key=lambda kind: kind.kind != "classes"
    )
    first: MetricError | None = None
    for kind in order:
        try:
            return _restricted(metric, kind.index, outputs)
        except MetricError as error:
            first = first or error
    raise first or MetricError("an output to judge", "none", "name fewer outputs")


def _restricted(metric: Metric, index: int, outputs: Sequence[TensorSpec]) -> Metric:
    """Return a metric that reads another output instead of the first."""
    fitted = metric.fitted(outputs[index : index + 1])
    inner = fitted.per_sample

    def per_sample(
        found_outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None
    ) -> Any:
        one = None if reference is None else [reference[index]]
        return inner([found_outputs[index]], targets, one)

    return replace(fitted, per_sample=per_sample, outputs=(outputs[index].name,))
