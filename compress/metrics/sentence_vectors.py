"""Vectors of an encoder against the original's: ``embedding-cosine`` and ``retrieval-agreement``.

Both read the first output with floating-point numbers. Where it has a vector for each position, ``(n, positions,
length)``, a sample's vector is their mean, or the one at the first position (``pool=first``). A mean counts every
position: a network whose texts are filled up to one length had better make its mean itself, with its mask.

``embedding-cosine`` is the cosine of the angle between a build's vector and the original's, of each sample, and 0
where they point away from each other: bounds are narrower where less is possible. It says whether an index that stays
as it is can be asked with the build's vectors.

``retrieval-agreement`` asks with each sample for the k others whose vectors are nearest by angle, and is the share of
those by a build that are among the original's own. It says whether an index that is made anew answers alike. A sample
that is as near to the original as the last of its k counts too, so that equal samples make no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compress.core.tensor_spec import TensorSpec
from compress.core.toml_schema import Number, Text
from compress.errors import MetricError
from compress.metrics.metric import Array, Metric, Values
from compress.metrics.options import NamedMetric
from compress.metrics.unlabelled.embeddings import of_length_1
from compress.metrics.unlabelled.rows import comparable, lost_samples, pair

COSINE_NAME, RETRIEVAL_NAME = "embedding-cosine", "retrieval-agreement"

#: Vectors of a sample by the build and by the original, and whether the build has none.
_Row = tuple[Array, Array, bool]

#: Similarities of float32 vectors that differ by less are equal.
_EQUAL = 1e-5

#: Samples that are looked through for the nearest, at the most; and similarities held at once.
_MOST_OTHERS, _HELD = 5000, 1 << 22


def embedding_cosine(pool: str = "mean") -> Metric:
    """Return the cosine of each sample's vector to the original's, from 0 to 1, which the original itself has.

    Args:
        pool: Vector of an output with several positions: ``mean`` of all, or the ``first``.
    """
    return _metric(COSINE_NAME, pool, _cosines)


def retrieval_agreement(k: int = 10, pool: str = "mean") -> Metric:
    """Return the share of each sample's nearest others that are the original's, from 0 to 1.

    Args:
        k: Number of nearest samples; with fewer others, all but one of these.
        pool: Vector of an output with several positions: ``mean`` of all, or the ``first``.
    """
    return _metric(RETRIEVAL_NAME, pool, lambda rows: _shares(rows, k))


_POOLS = Text(choices=("mean", "first"))
EMBEDDING_COSINE = NamedMetric(embedding_cosine, {"pool": _POOLS})
RETRIEVAL_AGREEMENT = NamedMetric(
    retrieval_agreement, {"k": Number("neighbours", 1, 1000, whole=True), "pool": _POOLS}
)


def _metric(name: str, pool: str, over_data: Callable[[Sequence[_Row]], Values]) -> Metric:
    def fit(outputs: Sequence[TensorSpec]) -> Metric:
        index = _place(outputs, name)

        def per_sample(
            given: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None = None
        ) -> list[_Row]:
            ours, theirs = pair(given, reference, index, outputs[index].name)
            lost = lost_samples(ours, theirs).tolist()
            vectors = (_pooled(array, pool) for array in comparable(ours, theirs))
            return list(zip(*vectors, lost, strict=True))

        return replace(metric, per_sample=per_sample, outputs=(outputs[index].name,), fit=None)

    metric = Metric(
        name,
        _not_fitted,
        "reference",
        right_or_wrong=False,
        higher_is_better=True,
        unit="%",
        fit=fit,
        over_data=over_data,
        span=(0.0, 1.0),
    )
    return metric


def _place(outputs: Sequence[TensorSpec], name: str) -> int:
    """Return the position of the first output that can hold vectors."""
    for index, spec in enumerate(outputs):
        if "float" in spec.dtype and len(spec.shape) >= 2 and spec.shape[-1] != 1:
            return index
    shapes = ", ".join(f"{spec.name}: {spec.dtype}{list(spec.shape)}" for spec in outputs)
    raise MetricError(
        f"an output of vectors [samples, length] for {name}", shapes or "none", "choose another metric"
    )


def _pooled(values: Array, pool: str) -> Array:
    """Return one vector for each sample, float32 ``(n, length)``; zeros where it has no position."""
    if not values.size:
        return np.zeros((len(values), values.shape[-1]), np.float32)
    by_position = values.reshape(len(values), -1, values.shape[-1])
    vectors: Array = by_position[:, 0] if pool == "first" else by_position.mean(axis=1)
    return vectors.astype(np.float32)


def _cosines(rows: Sequence[_Row]) -> Values:
    ours, theirs, lost = _sides(rows)
    cosines = np.clip((of_length_1(ours) * of_length_1(theirs)).sum(axis=1), 0.0, 1.0)
    equal = (ours == theirs).all(axis=1)  # to the last bit, and zeros too, which have no angle
    return np.where(lost, 0.0, np.where(equal, 1.0, cosines)).astype(np.float64)


def _shares(rows: Sequence[_Row], k: int) -> Values:
    if len(rows) < 3:
        raise MetricError(
            f"three samples or more for {RETRIEVAL_NAME}", str(len(rows)), "give more, or embedding-cosine"
        )
    ours, theirs, lost = _sides(rows)
    ours, theirs = of_length_1(ours), of_length_1(theirs)
    others = np.arange(len(rows))
    if len(others) > _MOST_OTHERS:
        others = np.sort(np.random.default_rng(0).choice(len(others), _MOST_OTHERS, replace=False))
    nearest = min(k, len(others) - 2)
    shares = np.empty(len(rows))
    block = max(1, _HELD // len(others))
    for start in range(0, len(rows), block):
        part = np.arange(start, min(start + block, len(rows)))
        itself = others == part[:, None]
        by_ours, by_theirs = (
            np.where(itself, -np.inf, vectors[part] @ vectors[others].T) for vectors in (ours, theirs)
        )
        chosen = np.argpartition(-by_ours, nearest - 1, axis=1)[:, :nearest]
        least = np.partition(by_theirs, -nearest, axis=1)[:, -nearest]
        near = np.take_along_axis(by_theirs, chosen, axis=1) >= least[:, None] - _EQUAL
        shares[part] = near.mean(axis=1)
    return np.where(lost, 0.0, shares)


def _sides(rows: Sequence[_Row]) -> tuple[Array, Array, Array]:
    """Return the vectors by the build and by the original, float32 ``(n, length)``, and which are lost."""
    ours, theirs, lost = zip(*rows, strict=True)
    return np.array(ours), np.array(theirs), np.array(lost)


def _not_fitted(outputs: Sequence[Array], targets: Array | None, reference: Sequence[Array] | None) -> Any:
    raise MetricError("a metric of vectors", "one that is not fitted", "fit it to outputs first")
