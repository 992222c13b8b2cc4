"""Metrics of data without labels: the original's loss by a build's answers.

Each judges one output of the network by what it holds (:mod:`compress.metrics.output_kinds`), from 0 (everything is
lost) to 1 (nothing is), which the original itself has on every sample. What is told beside it, such as the share of
equal answers, decides nothing.
"""

from __future__ import annotations

from dataclasses import replace

from compress.metrics.metric import Metric
from compress.metrics.output_kinds import OutputKind
from compress.metrics.unlabelled.boxes import box_metric
from compress.metrics.unlabelled.choices import choice_metric
from compress.metrics.unlabelled.decisions import decision_metric
from compress.metrics.unlabelled.embeddings import embedding_metric
from compress.metrics.unlabelled.equality import equality_metric
from compress.metrics.unlabelled.stream_values import stream_value_metric
from compress.metrics.unlabelled.values import value_metric

__all__ = ["strictly", "unlabelled_metric"]


def strictly(metric: Metric) -> Metric:
    """Return a metric of choices that counts every other answer than the original's as wrong, however close.

    Others, and those of labels, are returned as they are.

    Args:
        metric: Metric of an output with one answer for each sample.
    """
    if metric.needs != "reference" or metric.shown is None:
        return metric
    return replace(metric, over_data=metric.shown, shown=None, right_or_wrong=True)


def unlabelled_metric(
    kind: OutputKind, kinds: tuple[OutputKind, ...] = (), *, streams: bool = False
) -> Metric:
    """Return the metric of one output.

    Args:
        kind: Kind of the output, not ``ignore``.
        kinds: Kinds of all outputs; boxes are judged where other outputs score highest.
        streams: Whether outputs hold every frame of a stream, ``(streams, frames, …)``.
    """
    if kind.kind in ("classes", "tokens"):
        if kind.axis is None:
            raise ValueError(f"{kind.name}: classes without an axis")
        tokens = kind.kind == "tokens"
        return choice_metric(kind.name, kind.index, kind.axis, balanced=not tokens, likelihood=tokens)
    if kind.kind == "probabilities":
        return decision_metric(kind.name, kind.index)
    if kind.kind == "embeddings":
        return embedding_metric(kind.name, kind.index)
    if kind.kind == "boxes":
        scores = [other for other in kinds if other.kind in ("classes", "probabilities")]
        return box_metric(kind.name, kind.index, scores[0].index if scores else None)
    if kind.kind == "values":
        return (stream_value_metric if streams else value_metric)(kind.name, kind.index)
    return equality_metric(kind.name, kind.index)
