"""miou, f1 and f1-macro, held against scikit-learn and torchmetrics."""

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


def _scores(maps: Array, classes: int) -> Array:
    """Scores (n, classes, …) whose largest is at the class of each place, with noise."""
    hot = (maps[:, None] == np.arange(classes).reshape(1, -1, *[1] * (maps.ndim - 1))).astype(np.float64)
    return hot + RANDOM.uniform(0, 0.9, hot.shape)


def _noisy_maps(n: int = 9, classes: int = 4) -> tuple[Array, Array]:
    labels = RANDOM.integers(0, classes, (n, 5, 6))
    predicted = np.where(
        RANDOM.uniform(size=labels.shape) < 0.6, labels, RANDOM.integers(0, classes, labels.shape)
    )
    return predicted, labels


def test_miou_is_that_of_scikit_learn_and_torchmetrics() -> None:
    torchmetrics, torch = pytest.importorskip("torchmetrics"), pytest.importorskip("torch")
    predicted, labels = _noisy_maps()
    metric = load_metric("miou")
    ours = figure(metric, rows_of(metric, _scores(predicted, 4), labels))
    assert ours == pytest.approx(
        sklearn.metrics.jaccard_score(labels.ravel(), predicted.ravel(), average="macro")
    )
    theirs = torchmetrics.classification.MulticlassJaccardIndex(4)(
        torch.from_numpy(predicted), torch.from_numpy(labels)
    )
    assert ours == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize(
    "form", ["first", "last", "maps", "one channel", "mask with a channel", "mask with a last channel"]
)
def test_miou_takes_scores_and_maps(form: str) -> None:
    predicted, labels = _noisy_maps()
    scores = _scores(predicted, 4)
    output = {
        "first": scores,
        "last": scores.transpose(0, 2, 3, 1),
        "maps": predicted,
        "one channel": predicted[:, None],
    }
    metric = load_metric("miou")
    wanted = figure(metric, rows_of(metric, scores, labels))
    targets = {"mask with a channel": labels[:, None], "mask with a last channel": labels[..., None]}.get(
        form, labels
    )
    assert figure(metric, rows_of(metric, output.get(form, scores), targets)) == pytest.approx(wanted)


def test_pixels_without_a_label_do_not_count() -> None:
    predicted, labels = _noisy_maps()
    marked = labels.copy()
    marked[:, :2] = 255
    marked[:, 4] = -1
    metric = load_metric("miou:ignore=255")
    ours = figure(metric, rows_of(metric, _scores(predicted, 4), marked))
    assert ours == pytest.approx(
        sklearn.metrics.jaccard_score(labels[:, 2:4].ravel(), predicted[:, 2:4].ravel(), average="macro")
    )
    with pytest.raises(MetricError, match=r"labels below 4.*found 255 in y; .*miou:ignore=255"):
        rows_of(load_metric("miou"), _scores(predicted, 4), marked)


def test_a_class_that_is_only_predicted_does_not_count() -> None:
    labels, predicted = np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int)
    labels[0, 0], predicted[0, 0], predicted[1, 1, 1] = 1, 1, 7
    metric = load_metric("miou")
    assert figure(metric, rows_of(metric, predicted, labels)) == pytest.approx((5 / 6 + 1) / 2)


def test_one_channel_of_scores_is_above_a_threshold_or_not() -> None:
    labels = RANDOM.integers(0, 2, (6, 4, 4))
    shares = np.clip(labels * 0.6 + RANDOM.uniform(0, 0.5, labels.shape), 0, 1)[:, None]
    wanted = sklearn.metrics.jaccard_score(labels.ravel(), shares.ravel() > 0.5, average="macro")
    metric = load_metric("miou")
    assert figure(metric, rows_of(metric, shares, labels)) == pytest.approx(wanted)
    logits = np.log(shares / (1.000001 - shares))
    told = load_metric("miou:threshold=0")
    assert figure(told, rows_of(told, logits, labels)) == pytest.approx(wanted)
    with pytest.raises(MetricError, match=r"probabilities for miou.*miou:threshold=0 for logits"):
        rows_of(metric, logits, labels)


def test_one_axis_must_hold_the_classes() -> None:
    cube, labels = np.zeros((2, 3, 3, 3)), np.zeros((2, 3, 3), int)
    cube[:, 1] = 1
    with pytest.raises(MetricError, match="axis=first or axis=last"):
        rows_of(load_metric("miou"), cube, labels)
    metric = load_metric("miou:axis=first")
    assert figure(metric, rows_of(metric, cube, labels)) == 0
    with pytest.raises(MetricError, match=r"told, last; .* leave the setting axis out"):
        rows_of(load_metric("miou:axis=last"), np.zeros((2, 3, 4, 5)), np.zeros((2, 4, 5), int))


@pytest.mark.parametrize(
    "output, targets, message",
    [
        (np.zeros((2, 3, 4, 5)), np.zeros((2, 4, 5)), "integers"),
        (np.zeros((2, 3, 4, 5)), np.zeros((2, 4), int), "integers"),
        (np.zeros((2, 3, 4, 5)), np.zeros((2, 3, 4, 5), int), r"y\.argmax\(1\) from one-hot ones"),
        (np.zeros((2, 3, 4, 5)), np.zeros((2, 8, 10), int), "resize the masks"),
        (np.zeros((2, 4, 5)), np.zeros((2, 4, 5), int), "resize the masks"),
        (np.full((2, 3, 4, 5), np.nan), np.zeros((2, 4, 5), int), "NaN"),
    ],
)
def test_what_miou_cannot_judge_is_told(output: Array, targets: Array, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        rows_of(load_metric("miou"), output, targets)


def test_miou_is_fitted_to_maps() -> None:
    metric = load_metric("miou")
    for shape, dtype in ((("batch", 3, 4, 4), "float32"), (("batch", 4, 4), "int64")):
        assert metric.fitted([TensorSpec("out", dtype, shape)]).outputs == ("out",)
    for shape in (("batch", 3), ("batch", 4, 4)):
        with pytest.raises(MetricError, match="maps of class numbers for miou"):
            metric.fitted([TensorSpec("out", "float32", shape)])


def test_nothing_but_pixels_without_a_label_is_told() -> None:
    metric = load_metric("miou")
    with pytest.raises(MetricError, match="targets without a single one"):
        metric.values(rows_of(metric, np.zeros((2, 3, 4, 5)), np.full((2, 4, 5), -1)))


def test_f1_is_the_micro_average() -> None:
    labels = RANDOM.integers(0, 2, (30, 5))
    shares = np.clip(labels * 0.4 + RANDOM.uniform(0, 0.6, labels.shape), 0, 1)
    metric = load_metric("f1")
    ours = figure(metric, rows_of(metric, shares, labels))
    assert ours == pytest.approx(sklearn.metrics.f1_score(labels, shares > 0.5, average="micro"))
    assert ours != pytest.approx(sklearn.metrics.f1_score(labels, shares > 0.4, average="micro"))
    with pytest.raises(MetricError, match=r"probabilities for f1.*f1:threshold=0"):
        rows_of(metric, shares - 1, labels)
    for targets in (labels[:, :3], labels * 2):
        with pytest.raises(MetricError, match="targets of 0 and 1 for f1"):
            rows_of(metric, shares, targets)
    assert metric.fitted([TensorSpec("tags", "float32", ("batch", 5))]).outputs == ("tags",)


def test_f1_macro_is_the_mean_over_classes() -> None:
    labels = RANDOM.integers(0, 4, 60)
    scores = _scores(np.where(RANDOM.uniform(size=60) < 0.7, labels, RANDOM.integers(0, 4, 60)), 4)
    metric = load_metric("f1-macro")
    wanted = sklearn.metrics.f1_score(labels, scores.argmax(1), average="macro")
    assert figure(metric, rows_of(metric, scores, labels)) == pytest.approx(wanted)
    assert figure(metric, rows_of(metric, scores.argmax(1), labels)) == pytest.approx(wanted)
    assert metric.fitted([TensorSpec("out", "float32", ("batch", 4))]).class_labels
    assert not metric.fitted([TensorSpec("out", "int64", ("batch",))]).class_labels


@pytest.mark.parametrize(
    "output, targets, message",
    [
        (np.zeros((3, 4)), np.zeros((3, 4), int), "one integer label a sample"),
        (np.zeros((3, 4)), np.zeros(3), "one integer label a sample"),
        (np.zeros((3, 4)), np.array([0, 1, 4]), "labels from 0 and below 4; found labels from 0 to 4"),
        (np.zeros(3, int), np.array([0, 1, -1]), "labels from 0; found"),
        (np.zeros((3, 4, 2)), np.zeros(3, int), "scores .* for f1-macro"),
        (np.zeros(3), np.zeros(3, int), "scores .* for f1-macro"),
        (np.full((3, 4), np.nan), np.zeros(3, int), "NaN"),
    ],
)
def test_what_f1_macro_cannot_judge_is_told(output: Array, targets: Array, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        rows_of(load_metric("f1-macro"), output, targets)


@given(
    pair=arrays.arrays(
        np.int64, st.tuples(st.just(2), st.integers(2, 6), st.just(2), st.just(3)), elements=st.integers(0, 3)
    )
)
def test_miou_leaves_each_sample_out(pair: Array) -> None:
    metric = load_metric("miou")
    rows = rows_of(metric, pair[0], pair[1])
    assert np.allclose(metric.values(rows), by_leaving_out(metric, rows))


@given(pair=arrays.arrays(np.int64, st.tuples(st.just(2), st.integers(3, 12)), elements=st.integers(0, 3)))
def test_f1_macro_leaves_each_sample_out(pair: Array) -> None:
    metric = load_metric("f1-macro")
    rows = rows_of(metric, pair[0], pair[1])
    assert np.allclose(metric.values(rows), by_leaving_out(metric, rows))


@given(
    pair=arrays.arrays(
        np.int64, st.tuples(st.just(2), st.integers(3, 9), st.just(3)), elements=st.integers(0, 1)
    )
)
def test_f1_leaves_each_sample_out(pair: Array) -> None:
    assume((pair[1].any(axis=1)).sum() > 1)
    metric = load_metric("f1")
    rows = rows_of(metric, pair[0].astype(float), pair[1])
    assert np.allclose(metric.values(rows), by_leaving_out(metric, rows))
