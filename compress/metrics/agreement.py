"""The metric for data without labels: the agreement of a network's answers with the original's.

Its meaning depends on the kind of each output; see :mod:`compress.metrics.selection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric
from compress.metrics.options import NamedMetric
from compress.metrics.output_kinds import output_kinds
from compress.metrics.unlabelled import unlabelled_metric
from compress.metrics.unlabelled.rows import NAME


def agreement() -> Metric:
    """Judge every output against the original's; a task replaces it by a metric for each output."""
    return Metric(
        NAME,
        _not_bound,
        "reference",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        fit=_fit,
        span=(0.0, 1.0),
    )


AGREEMENT = NamedMetric(agreement, {})


def _fit(outputs: Sequence[TensorSpec]) -> Metric:
    """Return the metric of the first output, by its name and shape alone."""
    (kind, *_) = output_kinds(outputs, None)
    return replace(unlabelled_metric(kind), fit=None)


def _not_bound(
    outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None
) -> list[float]:
    raise MetricError(
        "a metric for what the output holds", f"'{NAME}' by itself", "fit it to the network first"
    )
