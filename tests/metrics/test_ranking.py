"""auc, held against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compress.core.tensor_spec import TensorSpec
from compress.errors import MetricError
from compress.metrics import load_metric
from tests.metrics.left_out import by_leaving_out, figure, rows_of

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
AUC = load_metric("auc")


def _binary(n: int = 50) -> tuple[Array, Array]:
    labels = RANDOM.integers(0, 2, n)
    return np.round(4 * (labels + RANDOM.normal(0, 1.2, n))) / 4, labels  # some are equal


def test_two_classes_are_ranked_by_one_score_or_by_the_difference_of_two() -> None:
    scores, labels = _binary()
    wanted = sklearn.metrics.roc_auc_score(labels, scores)
    shift = RANDOM.integers(-5, 5, 50)  # the same in both scores: it says nothing
    for output in (scores, scores[:, None], np.stack([shift, shift + scores], axis=1)):
        assert figure(AUC, rows_of(AUC, output, labels)) == pytest.approx(wanted)


def test_several_classes_are_one_against_the_rest() -> None:
    labels = RANDOM.integers(0, 3, 60)
    scores = np.eye(3)[labels] + RANDOM.normal(0, 1, (60, 3))
    scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    wanted = sklearn.metrics.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert figure(AUC, rows_of(AUC, scores, labels)) == pytest.approx(wanted)


def test_several_labels_are_taken_one_by_one() -> None:
    labels = RANDOM.integers(0, 2, (40, 4))
    scores = labels + RANDOM.normal(0, 1, labels.shape)
    wanted = sklearn.metrics.roc_auc_score(labels, scores, average="macro")
    assert figure(AUC, rows_of(AUC, scores, labels)) == pytest.approx(wanted)


def test_a_class_without_positives_does_not_count() -> None:
    labels = RANDOM.integers(0, 2, 30)
    scores = np.eye(3)[labels] + RANDOM.normal(0, 1, (30, 3))
    wanted = np.mean([sklearn.metrics.roc_auc_score(labels == c, scores[:, c]) for c in (0, 1)])
    assert figure(AUC, rows_of(AUC, scores, labels)) == pytest.approx(wanted)


@given(data=st.data(), n=st.integers(3, 14), kind=st.sampled_from(["binary", "classes", "labels"]))
def test_each_sample_is_left_out(data: st.DataObject, n: int, kind: str) -> None:
    columns = {"binary": 1, "classes": 3, "labels": 3}[kind]
    scores = data.draw(arrays.arrays(np.float64, (n, columns), elements=st.integers(-2, 2).map(float)))
    shape, most = ((n, columns), 1) if kind == "labels" else ((n,), max(1, columns - 1))
    labels = data.draw(arrays.arrays(np.int64, shape, elements=st.integers(0, most)))
    true = labels if kind == "labels" else labels[:, None] == np.arange(columns) + (kind == "binary")
    counts = true.sum(axis=0)
    assume(((counts > 1) & (counts < n - 1)).any())  # without any sample there is a figure
    rows = rows_of(AUC, scores, labels)
    assert np.allclose(AUC.values(rows), by_leaving_out(AUC, rows))


def test_the_output_is_named_and_the_rest_is_told() -> None:
    assert AUC.fitted([TensorSpec("risk", "float32", ("batch", 1))]).outputs == ("risk",)
    scores, labels = _binary(6)
    for output, targets, message in (
        (scores, labels.astype(float), "as integers"),
        (np.zeros((6, 2, 2)), labels, r"scores \[samples, classes\]"),
        (np.full(6, np.nan), labels, "NaN"),
        (scores, labels * 2, "labels from 0 to 1 for auc; found labels from 0 to 2"),
        (np.zeros((6, 3)), np.zeros((6, 2), int), "0 or 1 for each score"),
        (np.zeros((6, 3)), np.full((6, 3), 2), "0 or 1 for each score"),
    ):
        with pytest.raises(MetricError, match=message):
            rows_of(AUC, output, targets, batch=6)
    with pytest.raises(MetricError, match="positives and negatives"):
        AUC.values(rows_of(AUC, scores, np.zeros(6, int)))
