"""Class scores, of which the largest is the answer: what the original loses, of its own score, by a build's answer.

At a position where the build's largest class b is another one than the original's o, with scores z of the original::

    loss = 1 - exp(-(z_o - z_b) / T)

which for T = 1 is 1 - p_b / p_o, with the original's own probabilities p: near 0 between classes that it holds for
equally likely, near 1 where it was sure. Where the answers are equal nothing is lost.

Scores are not always logarithms of probabilities as they stand: an underconfident network's, or cosines without a
temperature, differ too little, and the loss would be small whatever the build answers. So they are sharpened until the
original is sure of itself: T ≤ 1 is the largest temperature at which the mean of 1 / (1 + exp(-m / T)) over its answers
is at least :data:`CONFIDENCE`, where m is the distance from its largest score to the second. The loss then does not
depend on the scores' scale, and is never below what they say themselves.

How it tracks the drop that labels show, over networks and kinds of damage: ``python -m benchmarks.judging``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from compress.metrics.metric import Metric, Values
from compress.metrics.unlabelled.rows import NAME, Array, Floats, comparable, lost_samples, pair

#: Mean certainty of the original, between its two best classes, up to which scores are sharpened.
CONFIDENCE = 0.9

#: Distances of a sample that count towards the temperature, at the most.
_MOST_MARGINS = 32

_BISECTIONS = 50


@dataclass(frozen=True)
class _Row:
    """One sample: its positions are those of a sequence or a map, or a single one.

    Attributes:
        gaps: z_o - z_b at each position where the answers differ, ``(changed,)``; infinite where the build gives no
            number.
        weights: The weight of each of these positions, ``(changed,)``; all positions of a sample weigh 1 together.
        margins: Distances from the original's largest score to the second at some of its positions.
        changed: Share of positions with another answer.
    """

    gaps: Floats
    weights: Floats
    margins: Floats
    changed: float


def choice_metric(name: str, index: int, axis: int, *, balanced: bool) -> Metric:
    """Judge an output that holds class scores.

    Args:
        name: The output's name.
        index: Its position among the outputs.
        axis: The axis that the classes lie along.
        balanced: Whether, in samples of many positions, each class that the original answers weighs alike, so that a
            small object counts as much as the background; else each position does.
    """
    return Metric(
        NAME,
        partial(_rows, name, index, axis, balanced),
        "reference",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        over_data=_kept,
        told=_agreement,
        span=(0.0, 1.0),
        outputs=(name,),
    )


def _rows(
    name: str,
    index: int,
    axis: int,
    balanced: bool,
    outputs: Sequence[Array],
    targets: Array | None,
    reference: Sequence[Array] | None = None,
) -> list[_Row]:
    ours, theirs = pair(outputs, reference, index, name)
    lost = lost_samples(ours, theirs)
    first, second = (np.moveaxis(each, axis, -1) for each in comparable(ours, theirs))
    classes = second.shape[-1]
    scores = _as_logits(second.reshape(len(second), -1, classes))
    ours_best = first.reshape(len(first), -1, classes).argmax(axis=-1)
    best = scores.argmax(axis=-1)
    top, chosen = (np.take_along_axis(scores, each[..., None], -1)[..., 0] for each in (best, ours_best))
    rows = []
    for sample in range(len(scores)):
        changed = np.flatnonzero(best[sample] != ours_best[sample])
        if lost[sample]:
            changed = np.arange(best.shape[1])
        gaps = np.full(len(changed), np.inf) if lost[sample] else (top[sample] - chosen[sample])[changed]
        weights = _weights(best[sample], balanced)[changed]
        margins = _margins(scores[sample])
        rows.append(_Row(gaps, weights, margins, len(changed) / best.shape[1]))
    return rows


def _as_logits(scores: Floats) -> Floats:
    """Scores whose differences are logarithms of ratios: probabilities are made logarithms, others stay."""
    if scores.size and scores.min() >= 0 and np.allclose(scores[:1].sum(axis=-1), 1, atol=1e-2):
        tiny = float(np.finfo(np.float32).tiny)
        logarithms: Floats = np.log(np.maximum(scores, tiny))
        return logarithms
    return scores


def _weights(answers: Array, balanced: bool) -> Floats:
    """The weight of each position, ``(positions,)``, summing to 1."""
    if not balanced or len(answers) == 1:
        return np.full(len(answers), 1 / len(answers))
    _, which, counts = np.unique(answers, return_inverse=True, return_counts=True)
    weights: Floats = 1 / (len(counts) * counts[which])
    return weights


def _margins(scores: Floats) -> Floats:
    """Distances from the largest score to the second, at evenly spaced positions."""
    positions = np.unique(np.linspace(0, len(scores) - 1, _MOST_MARGINS).astype(int))
    two = np.partition(scores[positions], -2, axis=-1)[:, -2:]
    margins: Floats = two[:, 1] - two[:, 0]
    return margins


def _kept(rows: Sequence[_Row]) -> Values:
    """1 - loss of each sample."""
    temperature = temperature_of(np.concatenate([row.margins for row in rows])) if rows else 1.0
    return np.array([1 - float(row.weights @ -np.expm1(-row.gaps / temperature)) for row in rows])


def temperature_of(margins: Floats, confidence: float = CONFIDENCE) -> float:
    """The largest temperature up to 1 at which the original is as sure of its answers as asked.

    Args:
        margins: Distances from its largest score to the second, ``(n,)``, from 0.
        confidence: Mean certainty between the two, inside (0.5, 1).
    """
    positive = margins[margins > 0]
    if not len(positive):
        return 1.0

    def certainty(temperature: float) -> float:
        return float(np.mean(1 / (1 + np.exp(-np.minimum(margins / temperature, 700.0)))))

    if certainty(1.0) >= confidence:
        return 1.0
    low, high = float(positive.min()) * 1e-3, 1.0
    for _ in range(_BISECTIONS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if certainty(middle) >= confidence else (low, middle)
    return low


def _agreement(rows: Sequence[_Row]) -> Values:
    return np.array([1 - row.changed for row in rows])
