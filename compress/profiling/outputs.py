"""A task bound to a build that is there: what its outputs hold is told from its graph, its numbers, or its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compress.metrics.output_kinds import OutputKind, output_kinds
from compress.sample_axis import judged_examples

if TYPE_CHECKING:
    import onnx

    from compress.backends.base import Session
    from compress.task import Task


def bound_to(task: Task, session: Session, path: Path | None, kinds: Sequence[OutputKind] = ()) -> Task:
    """The task under a build's input names, with metrics for its outputs.

    Args:
        task: Data and metric.
        session: The opened build.
        path: Its file; None where there is none to look into.
        kinds: What its outputs hold, where that was recorded with it; empty where it was not.

    Raises:
        DataError: The data does not fit.
        MetricError: The metric says nothing about such outputs.
    """
    bound = task.bind(session.inputs, session.outputs, kinds or None)
    labelled = all(metric.needs == "labels" for metric in bound.metrics)
    if kinds or (labelled and len(session.outputs) == 1):
        return bound
    examples = judged_examples(session.run, bound, session.inputs, session.outputs)
    found = output_kinds(session.outputs, _graph(path), examples)
    return task.bind(session.inputs, session.outputs, found)


def _graph(path: Path | None) -> onnx.ModelProto | None:
    """The graph of an ONNX file without its weights; None for other files."""
    if path is None or path.suffix != ".onnx":
        return None
    import onnx

    return onnx.load(path, load_external_data=False)
