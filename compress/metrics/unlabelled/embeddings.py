"""Embeddings, which are compared by their angle: what the original loses, of its own similarities, by a build's.

For each sample, the nearest of the others as the build sees it is held against the original's own. With s the
original's cosine similarities to the others::

    loss = (s_own - s_build) / (s_own - median of s)

at most 1. A build may be asked in two ways, and the worse counts: its own vectors among each other, as in an index that
is made anew, and its vectors among the original's, as in an index that stays. Outputs with a vector for each position
are taken by their mean over positions.

Reference: N. Kriegeskorte et al., 'Representational similarity analysis', Frontiers in Systems Neuroscience 2 (2008),
for comparing networks by the similarities among their own representations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from compress.metrics.metric import Metric, Values
from compress.metrics.unlabelled.rows import NAME, Array, Floats, comparable, lost_samples, pair

#: Samples that are looked through for the nearest, at the most; and similarities held at once.
_MOST_OTHERS, _HELD = 5000, 1 << 22

_Row = tuple[Array, Array, bool]


def embedding_metric(name: str, index: int) -> Metric:
    """Judge an output that holds embeddings.

    Args:
        name: The output's name.
        index: Its position among the outputs.
    """
    return Metric(
        NAME,
        partial(_rows, name, index),
        "reference",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        over_data=_kept,
        beside=_cosine,
        span=(0.0, 1.0),
        outputs=(name,),
    )


def _rows(
    name: str,
    index: int,
    outputs: Sequence[Array],
    targets: Array | None,
    reference: Sequence[Array] | None = None,
) -> list[_Row]:
    """Each sample's vector by the build and by the original, of length 1, and whether the build gives none."""
    ours, theirs = pair(outputs, reference, index, name)
    lost = lost_samples(ours, theirs)
    first, second = (_vectors(each) for each in comparable(ours, theirs))
    return list(zip(first, second, lost.tolist(), strict=True))


def _vectors(values: Floats) -> Array:
    """One vector of length 1 for each sample, float32 ``(n, length)``."""
    pooled = values.reshape(len(values), -1, values.shape[-1]).mean(axis=1)
    length = np.linalg.norm(pooled, axis=1, keepdims=True)
    vectors: Array = (pooled / np.maximum(length, np.finfo(np.float64).tiny)).astype(np.float32)
    return vectors


def _kept(rows: Sequence[_Row]) -> Values:
    ours, theirs = (np.array([row[side] for row in rows]) for side in (0, 1))
    lost = np.array([row[2] for row in rows])
    if len(rows) < 3:  # no nearest among others that says anything: the angle alone is left
        return np.where(lost, 0.0, np.clip((ours * theirs).sum(axis=1), 0, 1))
    others = np.arange(len(rows))
    if len(others) > _MOST_OTHERS:
        others = np.sort(np.random.default_rng(0).choice(len(others), _MOST_OTHERS, replace=False))
    losses = np.empty(len(rows))
    block = max(1, _HELD // len(others))
    for start in range(0, len(rows), block):
        part = slice(start, min(start + block, len(rows)))
        losses[part] = _losses(ours, theirs, others, np.arange(part.start, part.stop))
    return np.where(lost, 0.0, 1 - losses)


def _losses(ours: Array, theirs: Array, others: Array, part: Array) -> Floats:
    own = np.where(others == part[:, None], -np.inf, theirs[part] @ theirs[others].T)
    rows = np.arange(len(part))
    best = own.max(axis=1)
    median = np.median(np.where(np.isfinite(own), own, np.nan_to_num(best)[:, None]), axis=1)
    room = np.maximum(best - median, 1e-6)
    worst = np.zeros(len(part))
    for gallery in (ours, theirs):
        seen = np.where(others == part[:, None], -np.inf, ours[part] @ gallery[others].T)
        worst = np.maximum(worst, (best - own[rows, seen.argmax(axis=1)]) / room)
    return np.clip(worst, 0.0, 1.0)


def _cosine(rows: Sequence[_Row]) -> dict[str, float]:
    return {"cosine": float(np.mean([float(ours @ theirs) for ours, theirs, _ in rows]))}
