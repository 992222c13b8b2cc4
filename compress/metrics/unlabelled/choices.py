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

Tokens are also judged by how likely they are held, since text is drawn from these probabilities and perplexity is told
of them: with KL the mean divergence of the build's probabilities from the original's, in nats, a sample loses
1 - exp(-KL) at the least, which is the share of its likelihood that the original's own text would lose.

How it tracks the drop that labels show, over networks and kinds of damage: ``python -m benchmarks run judging.study``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from compress.metrics.metric import Metric, Values
from compress.metrics.unlabelled.rows import Array, Floats, by_pair, comparable, kept_metric, lost_samples

#: Mean certainty of the original, between its two best classes, up to which scores are sharpened.
CONFIDENCE = 0.9

#: Distances of a sample that count towards the temperature, at the most.
_MOST_MARGINS = 32

_BISECTIONS = 50


@dataclass(frozen=True)
class _Row:
    """One sample, whose positions are those of a sequence or a map, or a single one.

    Attributes:
        gaps: Differences z_o - z_b at the positions where the answers differ, ``(changed,)``; infinite where the build
            gives NaN.
        weights: Weights of these positions, ``(changed,)``; all positions of a sample weigh 1 together.
        margins: Distances from the original's largest score to the second at some of its positions.
        changed: Share of positions with another answer.
        divergence: Mean over the positions of KL(original, build), in nats; 0 where it is not judged.
    """

    gaps: Floats
    weights: Floats
    margins: Floats
    changed: float
    divergence: float = 0.0


def choice_metric(name: str, index: int, axis: int, *, balanced: bool, likelihood: bool = False) -> Metric:
    """Judge an output that holds class scores.

    Args:
        name: Name of the output.
        index: Position among the outputs.
        axis: Axis of the classes.
        balanced: Whether, in samples of many positions, those of a rare class weigh more, so that a small object counts
            beside the background; else each position weighs alike.
        likelihood: Whether the probabilities count too, as for tokens.
    """
    return kept_metric(
        name,
        by_pair(partial(_rows, axis, balanced, likelihood), name, index),
        over_data=_kept,
        shown=_agreement,
    )


def _rows(axis: int, balanced: bool, likelihood: bool, ours: Array, theirs: Array) -> list[_Row]:
    lost = lost_samples(ours, theirs)
    if not theirs.size:  # nothing is found in any of these samples
        return [_Row(np.empty(0), np.empty(0), np.empty(0), 0.0) for _ in theirs]
    first, second = (np.moveaxis(output, axis, -1) for output in comparable(ours, theirs))
    classes = second.shape[-1]
    scores, ours_scores = _as_logits(
        *(output.reshape(len(output), -1, classes) for output in (second, first))
    )
    ours_best = ours_scores.argmax(axis=-1)
    best = scores.argmax(axis=-1)
    top, chosen = (
        np.take_along_axis(scores, choices[..., None], -1)[..., 0] for choices in (best, ours_best)
    )
    rows = []
    for sample in range(len(scores)):
        changed = np.flatnonzero(best[sample] != ours_best[sample])
        if lost[sample]:
            changed = np.arange(best.shape[1])
        gaps = np.full(len(changed), np.inf) if lost[sample] else (top[sample] - chosen[sample])[changed]
        weights = _weights(best[sample], balanced)[changed]
        margins = _margins(scores[sample])
        apart = _divergence(scores[sample], ours_scores[sample]) if likelihood else 0.0
        rows.append(_Row(gaps, weights, margins, len(changed) / best.shape[1], apart))
    return rows


def _divergence(scores: Floats, ours: Floats) -> float:
    """Return the mean over positions of KL(softmax(scores), softmax(ours)), in nats; both ``(positions, classes)``."""
    first, second = (_log_softmax(logits) for logits in (scores, ours))
    return max(0.0, float((np.exp(first) * (first - second)).sum(axis=-1).mean()))


def _log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    logarithms: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logarithms


def _as_logits(scores: Floats, ours: Floats) -> tuple[Floats, Floats]:
    """Return scores whose differences are logarithms of ratios; probabilities are converted in both."""
    if scores.size and scores.min() >= 0 and np.allclose(scores[:1].sum(axis=-1), 1, atol=1e-2):
        tiny = float(np.finfo(np.float32).tiny)
        return np.log(np.maximum(scores, tiny)), np.log(np.maximum(ours, tiny))
    return scores, ours


def _weights(answers: Array, balanced: bool) -> Floats:
    """Return the weight of each position, ``(positions,)``, summing to 1.

    Balanced, a class that the original answers at k positions weighs √k altogether: between k, as the share of right
    pixels counts, where a small object is nothing, and 1, as the mean IoU counts, where few pixels are everything.
    """
    if not balanced or len(answers) == 1:
        return np.full(len(answers), 1 / len(answers))
    _, which, counts = np.unique(answers, return_inverse=True, return_counts=True)
    roots = 1 / np.sqrt(counts[which])
    weights: Floats = roots / roots.sum()
    return weights


def _margins(scores: Floats) -> Floats:
    """Return distances from the largest score to the second, at evenly spaced positions."""
    positions = np.unique(np.linspace(0, len(scores) - 1, _MOST_MARGINS).astype(int))
    two = np.partition(scores[positions], -2, axis=-1)[:, -2:]
    margins: Floats = two[:, 1] - two[:, 0]
    return margins


def _kept(rows: Sequence[_Row]) -> Values:
    """Return 1 - loss of each sample."""
    return kept_at(rows, temperature_of(np.concatenate([row.margins for row in rows])) if rows else 1.0)


def kept_at(rows: Sequence[_Row], temperature: float) -> Values:
    """Return 1 - loss of each sample, at one temperature of the original's scores."""
    return np.array([1 - _loss(row, temperature) for row in rows])


def _loss(row: _Row, temperature: float) -> float:
    chosen = float(row.weights @ -np.expm1(-row.gaps / temperature))
    return max(chosen, -float(np.expm1(-row.divergence)))


def temperature_of(margins: Floats, confidence: float = CONFIDENCE) -> float:
    """Return the largest temperature up to 1 at which the original is as certain of its answers as asked.

    Args:
        margins: Distances from its largest score to the second, ``(n,)``, ≥ 0.
        confidence: Mean certainty between the two, in (0.5, 1).
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
