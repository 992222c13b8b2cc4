"""Accuracy in every slice of the evaluation data: a class that collapses hardly moves the mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.metrics.metric import Values
from compress.profiling.accuracy import DROP_LEVEL, decidable, drop_of
from compress.records.profile import Slice

if TYPE_CHECKING:
    from compress.metrics import Metric

#: ``(n,)`` integers or texts: the slice of each sample.
Groups = np.ndarray[Any, np.dtype[Any]]


def members(
    groups: Groups, names: Sequence[str] | None = None
) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Return the unique name of each slice and its members, bool ``(n,)``; by ascending value.

    Args:
        groups: Slice of each sample, ``(n,)`` integers or texts.
        names: Names of the slices, where ``groups`` counts them from 0.
    """
    values = np.unique(groups)
    labels = [
        names[int(value)] if names is not None and 0 <= int(value) < len(names) else str(value)
        for value in values
    ]
    for value, name in zip(values, labels, strict=True):
        # Two classes may have one name; only their labels tell them apart.
        yield name if labels.count(name) == 1 else f"{name} (label {value})", groups == value


def slices_of(
    outcomes: Values,
    original: Values | None,
    metric: Metric,
    groups: Groups,
    names: Sequence[str] | None = None,
) -> tuple[Slice, ...]:
    """Return accuracy and drop in each slice.

    The drops' intervals hold together: each of k slices is bounded at 1/k of the error of a single drop (Bonferroni),
    so that reading the worst of them raises no more false alarms than reading one.

    Args:
        outcomes: Outcomes of this build, float64 ``(n,)``.
        original: Outcomes of the original network on the same samples, float64 ``(n,)``; None for itself.
        metric: Metric of these outcomes.
        groups: Slice of each sample, ``(n,)``.
        names: Names of the slices, where ``groups`` counts them from 0.
    """
    parts = list(members(groups, names))
    slices = []
    for name, mask in parts:
        member_outcomes, drop = outcomes[mask], None
        if original is not None and decidable(metric, len(member_outcomes)):
            drop = drop_of(member_outcomes, original[mask], metric, (1 - DROP_LEVEL) / 2 / len(parts))
        slices.append(Slice(name, len(member_outcomes), float(member_outcomes.mean()), drop))
    return tuple(slices)
