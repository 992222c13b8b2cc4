"""Embeddings, which are compared with each other: what the original loses, of its own similarities, by a build's.

For each sample, the nearest of the others as the build sees it is held against the original's own. With s the
original's similarities to the others, and q the :data:`_FAR` quantile of them::

    loss = (s_own - s_build) / (s_own - q)

at most 1. A build may be asked in two ways, and the worse counts: its own vectors among each other, as in an index that
is made anew, and its vectors among the original's, as in an index that stays. Similar is what has a small angle; where
the original's vectors differ in length, they may as well be compared by their distance, and the worse of both counts.
Outputs with a vector for each position are taken by their mean over positions.

How it tracks the retrieval that labels show: ``python -m benchmarks run judging.study``.

Reference: N. Kriegeskorte et al., 'Representational similarity analysis', Frontiers in Systems Neuroscience 2 (2008),
for comparing networks by the similarities among their own representations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from compress.metrics.metric import Metric, Values
from compress.metrics.unlabelled.rows import Array, Floats, by_pair, comparable, kept_metric, lost_samples

#: Quantile of the similarities to the other samples at which nothing of the nearest one is left.
_FAR = 0.75

#: Lengths of the original's vectors that vary by less than this share are the same.
_SAME_LENGTH = 0.01

#: Samples that are looked through for the nearest, at the most; and similarities held at once.
_MOST_OTHERS, _HELD = 5000, 1 << 22

_Row = tuple[Array, Array, bool]


def embedding_metric(name: str, index: int) -> Metric:
    """Judge an output that holds embeddings.

    Args:
        name: Name of the output.
        index: Position among the outputs.
    """
    return kept_metric(name, by_pair(_rows, name, index), over_data=_kept, beside=_cosine)


def _rows(ours: Array, theirs: Array) -> list[_Row]:
    """Return each sample's vector by the build and by the original, and whether the build has none."""
    lost = lost_samples(ours, theirs)
    first, second = (_vectors(vectors) for vectors in comparable(ours, theirs))
    return list(zip(first, second, lost.tolist(), strict=True))


def _vectors(values: Floats) -> Array:
    """Return one vector for each sample, float32 ``(n, length)``; zeros where it has no position."""
    if not values.size:
        return np.zeros((len(values), values.shape[-1]), np.float32)
    vectors: Array = values.reshape(len(values), -1, values.shape[-1]).mean(axis=1).astype(np.float32)
    return vectors


def of_length_1(vectors: Array) -> Array:
    """Return vectors ``(n, length)`` divided by their lengths; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Array = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return unit


def _kept(rows: Sequence[_Row]) -> Values:
    ours, theirs = (np.array([row[side] for row in rows]) for side in (0, 1))
    lost = np.array([row[2] for row in rows])
    unit = of_length_1(ours), of_length_1(theirs)
    if len(rows) < 3:  # no nearest among others that says anything: the angle alone is left
        return np.where(lost, 0.0, np.clip((unit[0] * unit[1]).sum(axis=1), 0, 1))
    losses = _losses(*unit, _cosines)
    length = np.linalg.norm(theirs, axis=1)
    if length.std() > _SAME_LENGTH * length.mean():
        losses = np.maximum(losses, _losses(ours, theirs, _nearness))
    return np.where(lost, 0.0, 1 - losses)


def _cosines(vectors: Array, others: Array) -> Array:
    cosines: Array = vectors @ others.T
    return cosines


def _nearness(vectors: Array, others: Array) -> Array:
    """Return negative distances, of which the largest is the most similar."""
    squares = (vectors**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None] - 2 * vectors @ others.T
    near: Array = -np.sqrt(np.maximum(squares, 0))
    return near


def _losses(ours: Array, theirs: Array, similarity: Callable[[Array, Array], Array]) -> Floats:
    """Return the loss of each sample, ``(n,)``."""
    others = np.arange(len(ours))
    if len(others) > _MOST_OTHERS:
        others = np.sort(np.random.default_rng(0).choice(len(others), _MOST_OTHERS, replace=False))
    losses = np.empty(len(ours))
    block = max(1, _HELD // len(others))
    for start in range(0, len(ours), block):
        part = np.arange(start, min(start + block, len(ours)))
        losses[part] = _block_losses(ours, theirs, others, part, similarity)
    return losses


def _block_losses(
    ours: Array, theirs: Array, others: Array, part: Array, similarity: Callable[[Array, Array], Array]
) -> Floats:
    itself = others == part[:, None]
    similarities = np.where(itself, -np.inf, similarity(theirs[part], theirs[others]))
    rows = np.arange(len(part))
    best = similarities.max(axis=1)
    far = np.quantile(np.where(itself, best[:, None], similarities), _FAR, axis=1)
    room = np.maximum(best - far, 1e-6)
    worst = np.zeros(len(part))
    for gallery in (ours, theirs):
        seen = np.where(itself, -np.inf, similarity(ours[part], gallery[others]))
        worst = np.maximum(worst, (best - similarities[rows, seen.argmax(axis=1)]) / room)
    return np.clip(worst, 0.0, 1.0)


def _cosine(rows: Sequence[_Row]) -> dict[str, float]:
    pairs = [(of_length_1(ours[None]), of_length_1(theirs[None])) for ours, theirs, _ in rows]
    return {"cosine": float(np.mean([float((ours * theirs).sum()) for ours, theirs in pairs]))}
