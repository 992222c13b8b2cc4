"""Binding of a task to an existing build, whose outputs' kinds come from its graph, numbers, or bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.backends.first_opening import open_elsewhere
from compress.core.tensor_spec import fixed_batch
from compress.data.arrays import ArraySplit
from compress.data.binding import bind_split, held_values, matched
from compress.data.split import Array
from compress.errors import NetworkError
from compress.metrics.output_kinds import OutputKind, output_kinds
from compress.network.first_call import first_of_onnx
from compress.network.sample_axis import find_axes, judged_examples, possible_axes
from compress.network.states import Streams
from compress.network.streams import in_streams, with_calls

if TYPE_CHECKING:
    import onnx

    from compress.backends.base import Artifact, Session
    from compress.core.tensor_spec import TensorSpec
    from compress.data.task import Task


def try_elsewhere(
    artifact: Artifact, session: Session, task: Task, states: Mapping[str, str] | None = None
) -> None:
    """Run a build for the first time, on a sample of the data and in another process.

    Args:
        artifact: The build.
        session: The opened build, which defines the inputs.
        task: The data, not bound to it yet.
        states: The output that is the next value of each input that is carried from call to call; None where none is.

    Raises:
        DataError: The data does not fit.
        NetworkError: The build does not run, or its runtime crashes.
    """
    size = fixed_batch(session.inputs) or 1
    split = task.evaluation.first_calls(session)
    if states:  # a frame, with a state as streams have it when they begin
        split = ArraySplit.from_arrays(first_of_onnx(session, task, states))
    samples = bind_split(split, session.inputs, "evaluation data")
    rows = np.arange(size) % len(samples)
    open_elsewhere(artifact, next(samples.take(rows).batches(size)).inputs)


def bound_to(
    task: Task,
    session: Session,
    path: Path | None,
    kinds: Sequence[OutputKind] = (),
    states: Mapping[str, str] | None = None,
) -> Task:
    """Return the task under a build's input names, with metrics for its outputs.

    Args:
        task: Task with data and metric.
        session: The opened build.
        path: File of the build; None where there is none to examine.
        kinds: Kinds of its outputs' content, where recorded; else empty.
        states: The output that is the next value of each input that is carried from call to call; None for none. The
            build itself then gives the states of the frames that it is timed on.

    Raises:
        DataError: The data does not fit.
        MetricError: The metric does not apply to such outputs.
        NetworkError: Samples lie along another axis than the file's names say.
    """
    if states:
        return _in_streams(task, session, path, kinds, states)
    in_calls = task.evaluation.in_calls(task, session)
    if in_calls is not None:
        return in_calls
    bound = task.bind(session.inputs, session.outputs, kinds or None)
    _check_axes(task, session)
    labelled = all(metric.needs == "labels" for metric in bound.metrics)
    if kinds or (labelled and len(session.outputs) == 1):
        return bound
    examples = judged_examples(session.run, bound, session.inputs, session.outputs)
    kinds_found = output_kinds(session.outputs, _graph(path), examples)
    return task.bind(session.inputs, session.outputs, kinds_found)


def _in_streams(
    task: Task,
    session: Session,
    path: Path | None,
    kinds: Sequence[OutputKind],
    states: Mapping[str, str],
) -> Task:
    """Return the task over whole streams, with that of single calls."""
    in_frames, single = in_streams(task, session, states, calibrates=False)
    streams = in_frames.whole
    assert isinstance(streams, Streams)
    bound = single.bind(streams.calls, streams.gives)
    if kinds:  # as they were recorded, of whole streams
        return replace(in_frames.bind(streams.inputs, streams.outputs, kinds), single=bound)
    examples = judged_examples(session.run, bound, streams.calls, streams.gives)
    kinds_found = output_kinds(streams.gives, _graph(path), examples)
    return with_calls(in_frames, single.bind(streams.calls, streams.gives, kinds_found))


def _check_axes(task: Task, session: Session) -> None:
    """Refuse a build whose open axis of samples is not named ``batch``."""
    arrays = matched(task.example(), session.inputs)
    held = held_values(arrays, session.inputs)
    inputs = [spec for spec in session.inputs if spec.name not in held]
    if not all(spec.dynamic_batch and _open_elsewhere(spec) for spec in inputs[:1]):
        return
    possible = {spec.name: possible_axes(spec, arrays[spec.name].shape[1:]) for spec in inputs}
    samples = {spec.name: arrays[spec.name] for spec in inputs}

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        return session.run({**held, **{name: np.asarray(array, order="C") for name, array in feeds.items()}})

    try:
        axes_found = find_axes(run, samples, possible)
    except NetworkError:  # a build whose ranges are those of the whole batch
        return
    for spec in inputs:
        axis = spec.batch_axis if axes_found is None else axes_found.inputs[spec.name]
        if axis != spec.batch_axis:
            raise NetworkError(
                f"samples along axis {spec.batch_axis} of {spec}, as its names say",
                f"samples along axis {axis}",
                f"call axis {axis} 'batch' in the file, or build it with compress optimize or quantize, which finds it",
            )


def _open_elsewhere(spec: TensorSpec) -> bool:
    """Whether samples could lie along another open axis."""
    return any(isinstance(size, str) for axis, size in enumerate(spec.shape) if axis != spec.batch_axis)


def _graph(path: Path | None) -> onnx.ModelProto | None:
    """Return the graph of an ONNX file without its weights; None for other files."""
    if path is None or path.suffix != ".onnx":
        return None
    import onnx

    return onnx.load(path, load_external_data=False)
