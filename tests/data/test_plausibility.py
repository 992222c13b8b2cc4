"""The original is looked at first: what is wrong with the data is named, and what is right is left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from compress.core.tensor_spec import TensorSpec
from compress.data.plausibility import Looked, doubts
from compress.data.task import load_task
from compress.errors import MetricError

RANDOM = np.random.default_rng(0)
CLASSES = 5
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)
INPUTS = (TensorSpec("x", "float32", ("batch", 3, 8, 8)),)
OUTPUTS = (TensorSpec("y", "float32", ("batch", CLASSES)),)

#: A colour for each class; the network answers the nearest one to the mean of an image.
COLOURS = RANDOM.uniform(0.1, 0.9, (CLASSES, 3)).astype(np.float32)
LABELS = RANDOM.integers(0, CLASSES, 300)
PIXELS = (
    np.clip(COLOURS[LABELS][:, :, None, None] + 0.1 * RANDOM.standard_normal((300, 3, 8, 8)), 0, 1)
).astype(np.float32)
NORMALISED = (PIXELS - MEAN) / STD


def network(feeds: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
    """Trained on images with ImageNet's mean and std."""
    colours = (COLOURS - MEAN[0, :, 0, 0]) / STD[0, :, 0, 0]
    means = feeds["x"].mean(axis=(2, 3))
    return [-((means[:, None] - colours[None]) ** 2).sum(axis=2)]


def said(x: Any, y: Any, run: Any = network, classes: tuple[str, ...] | None = None) -> tuple[str, ...]:
    task = load_task({"x": x, "y": y}, calibrates=False).bind(INPUTS, OUTPUTS)
    if classes is not None:
        object.__setattr__(task, "classes", classes)
    return doubts(run, task, INPUTS, OUTPUTS)


def test_a_network_that_is_right_is_not_doubted():
    assert said(NORMALISED, LABELS) == ()


def test_a_mediocre_network_is_not_doubted():
    wrong = RANDOM.random(300) < 0.5
    assert said(NORMALISED, np.where(wrong, RANDOM.integers(0, CLASSES, 300), LABELS)) == ()


@pytest.mark.parametrize(
    ("x", "y", "cause"),
    [
        (PIXELS, LABELS, "ImageNet's mean and std"),
        (255 * PIXELS, LABELS, "ImageNet's mean and std"),
        (np.ascontiguousarray(NORMALISED[:, ::-1]), LABELS, "colours in the other order"),
        (NORMALISED, (LABELS + 1) % CLASSES, "another order than the network's (label 1 is its class 0"),
        (
            NORMALISED,
            np.array([3, 1, 4, 0, 2])[LABELS],
            "another order than the network's (label 3 is its class 0",
        ),
        (NORMALISED[LABELS < 4], LABELS[LABELS < 4] + 1, "labels seem to begin at 1"),
        (NORMALISED[LABELS > 0], LABELS[LABELS > 0] - 1, "background class first"),
    ],
)
def test_the_likely_cause_is_named(x: Any, y: Any, cause: str):
    (sentence,) = said(x, y)
    assert cause in sentence
    assert "it would be right on" in sentence


def test_chance_is_told_without_a_cause_too():
    (sentence,) = said(NORMALISED, RANDOM.integers(0, CLASSES, 300))
    assert "which is chance" in sentence
    assert "likely causes: the order of the classes" in sentence


def test_always_the_same_answer_is_chance_however_common_it_is():
    common = np.where(RANDOM.random(300) < 0.8, 0, LABELS)
    (sentence,) = said(
        NORMALISED, common, lambda feeds: [np.tile(np.float32([1, 0, 0, 0, 0]), (len(feeds["x"]), 1))]
    )
    assert "which is chance" in sentence


def test_folders_in_the_order_of_the_alphabet_are_told_by_their_names():
    classes = ("1", "10", "2", "3", "4")  # the network knows them as 1, 2, 3, 4, 10
    by_folder = np.array([0, 2, 3, 4, 1])[LABELS]
    (sentence,) = said(NORMALISED, by_folder, classes=classes)
    assert "in the order of their numbers" in sentence


def test_few_samples_say_nothing():
    assert said(PIXELS[:10], LABELS[:10]) == ()


@pytest.mark.parametrize(("hits", "at_chance"), [(60, True), (70, True), (100, False)])
def test_chance_is_what_unrelated_answers_get(hits: int, at_chance: bool):
    labels = np.arange(300) % 5
    predicted = (labels + 1 + np.arange(300) // 5 % 4) % 5
    predicted[:hits] = labels[:hits]
    assert Looked(predicted, labels, 5).at_chance is at_chance


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("metric", [None, "mean-error"])
def test_one_hot_labels_are_refused(dtype: str, metric: str | None):
    with pytest.raises(MetricError, match=r"save class numbers: y.argmax\(1\)"):
        load_task({"x": NORMALISED, "y": np.eye(CLASSES)[LABELS].astype(dtype)}, metric=metric)


def test_a_slow_network_is_run_on_few_samples(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr("compress.data.plausibility.time.monotonic", lambda: now[0])
    fed = [0]

    def slow(feeds: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
        now[0] += 0.5 * len(feeds["x"])
        fed[0] += len(feeds["x"])
        return network(feeds)

    (sentence,) = said(PIXELS, LABELS, slow)
    assert "ImageNet's mean and std" in sentence
    assert fed[0] <= 32 + 7 * 32  # one batch at first, and one for each way of preparing
