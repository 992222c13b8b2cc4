"""Probabilities of classes of which several, or none, may hold: what the original loses by a build's decisions.

Each number p from 0 to 1 is a decision, whether p is above one half. Where the build decides otherwise::

    loss = 1 - min(p, 1 - p) / max(p, 1 - p)

with the original's p: near 0 where it was undecided. A sample loses the sum of this over what either of the two holds
to be there, divided by how many these are, as in the Jaccard index: what is absent in both tells nothing, however many
classes or pixels it is.

An original that finds nothing in any sample decides nothing either: then its numbers are judged as continuous values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compress.metrics.metric import Metric, Values
from compress.metrics.unlabelled.rows import NAME, Array, by_pair, by_sample, comparable, lost_samples
from compress.metrics.unlabelled.values import ValueRow, relative_error, value_metric, value_rows


@dataclass(frozen=True)
class _Row:
    """One sample.

    Attributes:
        loss: Loss by its decisions, from 0 to 1.
        found: Whether the original finds anything in it.
        changed: Share of its decisions that differ, among those that either of the two holds to be there.
        values: Its numbers as continuous values.
    """

    loss: float
    found: bool
    changed: float
    values: ValueRow


def decision_metric(name: str, index: int) -> Metric:
    """Judge an output that holds probabilities of several classes.

    Args:
        name: Name of the output.
        index: Position among the outputs.
    """
    return replace(
        value_metric(name, index),
        name=NAME,
        per_sample=by_pair(_rows, name, index),
        over_data=_kept,
        shown=_agreement,
    )


def _rows(ours: Array, theirs: Array) -> list[_Row]:
    lost = lost_samples(ours, theirs)
    first, second = map(by_sample, comparable(ours, theirs))
    here, there = first > 0.5, second > 0.5
    certain, doubted = np.maximum(second, 1 - second), np.minimum(second, 1 - second)
    losses = np.where(here != there, 1 - np.clip(doubted, 0, None) / certain, 0.0)
    either = np.maximum((here | there).sum(axis=1), 1)
    share = np.where(lost, 1.0, losses.sum(axis=1) / either)
    changed = np.where(lost, 1.0, (here != there).sum(axis=1) / either)
    values = value_rows(ours, theirs)
    return [
        _Row(float(share[row]), bool(there[row].any()), float(changed[row]), values[row])
        for row in range(len(share))
    ]


def _kept(rows: Sequence[_Row]) -> Values:
    if not any(row.found for row in rows):
        return 1 - relative_error([row.values for row in rows])
    return np.array([1 - row.loss for row in rows])


def _agreement(rows: Sequence[_Row]) -> Values:
    if not any(row.found for row in rows):
        return _kept(rows)
    return np.array([1 - row.changed for row in rows])
