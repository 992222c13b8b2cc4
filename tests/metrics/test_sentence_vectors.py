"""Vectors against the original's: cosine, and the neighbours that are found with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compress.core.tensor_spec import TensorSpec
from compress.data.task import load_task
from compress.errors import MetricError
from compress.metrics import load_metric
from compress.metrics.outcomes import Outcomes
from compress.profiling.accuracy import accuracy_of

Array = NDArray[Any]


def values(name: str, ours: Array, theirs: Array) -> Array:
    """Return what the metric says of the first output, as one batch after another of 7 samples."""
    spec = TensorSpec("vectors", "float32", ("batch", *theirs.shape[1:]))
    metric = load_metric(name).fitted([spec])
    assert metric.outputs == ("vectors",)
    rows: list[Any] = []
    for start in range(0, len(ours), 7):
        part = slice(start, start + 7)
        rows += metric.per_sample([ours[part]], None, [theirs[part]])
    found = metric.values(rows)
    assert found.dtype == np.float64
    assert found.shape == (len(ours),)
    return found


def vectors(count: int = 60, length: int = 16, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, length)).astype(np.float32)


@pytest.mark.parametrize("name", ["embedding-cosine", "retrieval-agreement", "retrieval-agreement:k=1"])
def test_the_original_is_best_also_with_equal_samples_and_zeros(name: str) -> None:
    theirs = vectors()
    theirs[10:20] = theirs[0]
    theirs[30:33] = 0
    np.testing.assert_array_equal(values(name, theirs, theirs), 1)


def test_cosine_is_that_of_the_angle() -> None:
    theirs = np.array([[1, 0], [1, 0], [1, 0], [2, 0], [0, 0]], np.float32)
    ours = np.array([[3, 0], [0, 1], [-1, 0], [1, 1], [1, 0]], np.float32)
    wanted = [1, 0, 0, np.sqrt(0.5), 0]
    np.testing.assert_allclose(values("embedding-cosine", ours, theirs), wanted, atol=1e-6)


def test_shares_are_those_of_a_plain_count() -> None:
    theirs, ours = vectors(), vectors() + 0.5 * vectors(seed=1)

    def nearest(rows: Array, query: int) -> set[int]:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        order = np.argsort(-(unit @ unit[query]))
        return set(order[order != query][:5].tolist())

    wanted = [len(nearest(ours, query) & nearest(theirs, query)) / 5 for query in range(len(ours))]
    found = values("retrieval-agreement:k=5", ours, theirs)
    np.testing.assert_allclose(found, wanted)
    assert 0.1 < found.mean() < 0.9


def test_a_rotation_keeps_neighbours_and_no_angle() -> None:
    theirs = vectors()
    rotation = np.linalg.qr(vectors(16, 16, seed=2))[0]
    np.testing.assert_allclose(values("retrieval-agreement", theirs @ rotation, theirs), 1)
    assert values("embedding-cosine", theirs @ rotation, theirs).mean() < 0.5


def test_more_neighbours_than_there_are_leave_one_to_tell_apart() -> None:
    theirs = vectors(4)
    ours = theirs.copy()
    ours[0] = -ours[0]
    found = values("retrieval-agreement:k=10", ours, theirs)
    assert found[0] < 1
    with pytest.raises(MetricError, match="three samples"):
        values("retrieval-agreement", theirs[:2], theirs[:2])


def test_positions_are_pooled_by_mean_or_by_the_first() -> None:
    theirs = np.stack([vectors(seed=0), vectors(seed=1)], axis=1)
    ours = theirs.copy()
    ours[:, 1] = vectors(seed=2)
    np.testing.assert_array_equal(values("embedding-cosine:pool=first", ours, theirs), 1)
    assert values("embedding-cosine", ours, theirs).mean() < 0.9
    with pytest.raises(MetricError, match="mean, first"):
        load_metric("embedding-cosine:pool=last")


def test_a_sample_without_numbers_is_lost_and_no_other() -> None:
    theirs = vectors()
    ours = theirs.copy()
    ours[3, 2] = np.nan
    for name in ("embedding-cosine", "retrieval-agreement"):
        found = values(name, ours, theirs)
        assert found[3] == 0
        assert np.delete(found, 3).min() >= 0.9


def test_an_output_of_vectors_is_chosen() -> None:
    specs = [
        TensorSpec("ids", "int64", ("batch", 8)),
        TensorSpec("score", "float32", ("batch", 1)),
        TensorSpec("pooled", "float32", ("batch", 8)),
    ]
    assert load_metric("embedding-cosine").fitted(specs).outputs == ("pooled",)
    with pytest.raises(MetricError, match="an output of vectors"):
        load_metric("retrieval-agreement").fitted(specs[:2])


def test_the_margin_and_its_interval_are_as_for_every_metric() -> None:
    data = load_task({"x": vectors(400)}, metric="embedding-cosine")
    bound = data.bind(
        [TensorSpec("x", "float32", ("batch", 16))], [TensorSpec("vectors", "float32", ("batch", 16))]
    )
    assert bound.metric.name == "embedding-cosine"
    theirs, random = vectors(400), vectors(400, seed=3)
    spec = [TensorSpec("vectors", "float32", ("batch", 16))]
    metric = load_metric("embedding-cosine").fitted(spec)
    build, original = (
        Outcomes(metric, metric.values(list(metric.per_sample([given], None, [theirs]))))
        for given in (theirs + 0.1 * random, theirs)
    )
    found = accuracy_of((build,), (original,), bound.evaluation.sha256)
    assert found.drop is not None
    assert 0.2 < found.drop.points < 1
    assert found.drop.interval.low < found.drop.points < found.drop.interval.high < 2
