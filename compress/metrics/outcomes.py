"""The values that a network reaches on evaluation data, by every metric that it is judged by.

A network may be judged by several metrics: one for each of its outputs. Each has a drop of its own, and the worst
decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from compress.metrics.metric import Array, Metric, Values, drop_points


@dataclass(frozen=True)
class Outcomes:
    """The values of one metric.

    Attributes:
        metric: The metric.
        values: Values of all samples in order, float64 ``(n,)``; a drop is a drop of their mean.
        shown: Values to show for all samples in order, float64 ``(n,)``; None where ``values`` are shown.
        beside: Further figures by name, for information only; empty for most metrics.
    """

    metric: Metric
    values: Values
    shown: Values | None = None
    beside: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


class OutcomeCollector:
    """Collector that takes a network's outputs batch by batch, and returns the outcomes of all.

    Args:
        metrics: Metrics that the network is judged by, at least one.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = tuple(metrics)
        self._rows: list[list[Any]] = [[] for _ in self._metrics]

    @property
    def needs_reference(self) -> bool:
        """Whether :meth:`add` must be given the original network's outputs."""
        return any(metric.needs == "reference" for metric in self._metrics)

    def add(
        self, outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
    ) -> None:
        """Judge one batch.

        Args:
            outputs: Array ``(n, …)`` of each output of the network.
            targets: Targets ``(n, …)``; None where there are none.
            reference: Outputs of the original network; None where no metric needs them.

        Raises:
            MetricError: A metric cannot judge such outputs or targets.
        """
        for metric, rows in zip(self._metrics, self._rows, strict=True):
            rows.extend(metric.per_sample(outputs, targets, reference))

    def outcomes(self) -> tuple[Outcomes, ...]:
        """Return the outcomes of all batches so far, in the order of the metrics."""
        return tuple(_outcomes(metric, rows) for metric, rows in zip(self._metrics, self._rows, strict=True))


def _outcomes(metric: Metric, rows: list[Any]) -> Outcomes:
    shown = None if metric.shown is None or not rows else metric.shown(rows)
    beside = {} if metric.beside is None or not rows else metric.beside(rows)
    return Outcomes(metric, metric.values(rows), shown, beside)


def worst_drop(outcomes: Sequence[Outcomes], originals: Sequence[Outcomes]) -> float:
    """Return the largest drop of any metric, in points; see :func:`compress.metrics.drop_points`.

    Args:
        outcomes: Outcomes of a build, metric by metric.
        originals: Outcomes of the original network on the same samples.
    """
    return max(
        drop_points(ours.metric, float(theirs.values.mean()), float(ours.values.mean()))
        for ours, theirs in zip(outcomes, originals, strict=True)
    )
