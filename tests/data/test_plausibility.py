"""The original is looked at first: what is wrong with the data is named, and what is right is left alone."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from compress.core.tensor_spec import TensorSpec
from compress.data.plausibility import doubts
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


@pytest.mark.parametrize(
    ("inputs", "x", "cause"),
    [
        (INPUTS, NORMALISED, "images prepared otherwise than in training"),
        (
            (TensorSpec("x", "uint8", ("batch", 8, 8, 3)),),
            np.zeros((300, 8, 8, 3), np.uint8),
            "images prepared",
        ),
        ((TensorSpec("x", "int64", ("batch", 7)),), np.ones((300, 7), np.int64), "another tokenizer"),
        ((TensorSpec("x", "float32", ("batch", 4)),), np.ones((300, 4), np.float32), "order of the features"),
    ],
)
def test_likely_causes_are_those_of_the_kind_of_data(inputs: Any, x: Any, cause: str):
    def scores(feeds: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
        return [np.random.default_rng(1).standard_normal((len(feeds["x"]), CLASSES))]

    labels = np.random.default_rng(2).integers(0, CLASSES, 300)
    task = load_task({"x": x, "y": labels}, calibrates=False).bind(inputs, OUTPUTS)
    (sentence,) = doubts(scores, task, inputs, OUTPUTS)
    assert cause in sentence


def test_always_the_same_answer_is_chance_however_common_it_is():
    common = np.where(RANDOM.random(300) < 0.8, 0, LABELS)
    (sentence,) = said(
        NORMALISED, common, lambda feeds: [np.tile(np.float32([1, 0, 0, 0, 0]), (len(feeds["x"]), 1))]
    )
    assert "which is chance" in sentence
    assert "it gives class 0 for each of them" in sentence


def test_labels_of_one_class_are_not_doubted():
    assert said(NORMALISED, np.full(300, 3)) == ()


def test_a_network_that_is_right_as_often_as_the_commonest_class_is_not_good_for_that():
    mostly = np.where(np.arange(300) % 10, 2, LABELS)
    (sentence,) = said(
        NORMALISED, mostly, lambda feeds: [np.tile(np.float32([0, 0, 1, 0, 0]), (len(feeds["x"]), 1))]
    )
    assert "which is chance" in sentence


def test_an_explanation_that_is_chance_itself_is_none():
    """Nine of ten labels are 4: that all answers mean 4 would be right more often, and say nothing."""
    mostly = np.where(np.arange(300) % 10, 4, 2)
    (sentence,) = said(
        NORMALISED, mostly, lambda feeds: [np.tile(np.float32([1, 0, 0, 0, 0]), (len(feeds["x"]), 1))]
    )
    assert "another order" not in sentence
    assert "labels seem to begin at 1" not in sentence


def test_labels_that_begin_at_0_are_not_said_to_begin_at_1():
    """All but one sample are right with labels - 1, which would give that one the label -1."""
    known = LABELS < 4
    labels = np.concatenate([[0], LABELS[known] + 1])
    (sentence,) = said(np.concatenate([NORMALISED[:1], NORMALISED[known]]), labels)
    assert "begin at 1" not in sentence
    assert "another order than the network's" in sentence


def test_scores_that_are_no_numbers_are_not_doubted():
    def broken(feeds: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
        return [np.full((len(feeds["x"]), CLASSES), np.nan, np.float32)]

    assert said(NORMALISED, LABELS, broken) == ()


def test_a_network_that_is_a_little_better_than_chance_is_looked_at_longer():
    """Right on 56 % of the samples of two classes: 400 samples do not show it, and 4,000 do."""
    count = 4000
    labels = np.arange(count) % 2
    answers = np.where(np.arange(count) // 2 % 100 < 56, labels, 1 - labels)
    x = np.zeros((count, 3, 8, 8), np.float32)
    x[:, 0, 0, 0] = answers

    def weak(feeds: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
        return [np.eye(CLASSES, dtype=np.float32)[feeds["x"][:, 0, 0, 0].clip(0, 1).astype(int)]]

    assert said(x, labels, weak) == ()
    (sentence,) = said(x, np.arange(count) // 2 % 2, weak)
    assert "of 4000 samples, which is chance" in sentence


def test_samples_are_read_as_they_are_needed_and_few_are_kept(monkeypatch: pytest.MonkeyPatch):
    alive: list[weakref.ref[Any]] = []
    most = [0]

    def watched(feeds: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
        if not any(each() is feeds["x"] for each in alive):
            alive.append(weakref.ref(feeds["x"]))
        most[0] = max(most[0], sum(each() is not None for each in alive))
        return network(feeds)

    said(PIXELS, LABELS, watched)
    assert most[0] <= 128 // 32 + 2  # those that are kept, the one at hand and the one before it


def test_what_was_looked_at_is_not_run_again():
    fed = [0]

    def counted(feeds: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
        fed[0] += len(feeds["x"])
        return network(feeds)

    (sentence,) = said(PIXELS, LABELS, counted)
    assert "ImageNet's mean and std" in sentence
    assert fed[0] == 300 + 5 * 128  # the samples once, and each of five preparations


def test_of_preparations_that_are_about_as_good_the_first_is_told():
    """A network that takes pixels divided by 255 nearly as well as those with a mean and std."""

    def small(feeds: Mapping[str, np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
        x = feeds["x"]
        if x.max() > 9:
            return [np.tile(np.float32([1, 0, 0, 0, 0]), (len(x), 1))]
        pixels = (0.5 + 0.5 * x if x.min() > -1.01 else x * STD + MEAN) if x.min() < 0 else x
        (scores,) = network({"x": (pixels - MEAN) / STD})
        if x.min() >= 0:
            scores[:1] = np.eye(CLASSES)[(scores[:1].argmax(1) + 1) % CLASSES]  # one wrong of 32
        return [scores]

    (sentence,) = said(255 * PIXELS, LABELS, small)
    assert "with pixels divided by 255 (scale = 255) it would be right on 97 %" in sentence


def test_folders_in_the_order_of_the_alphabet_are_told_by_their_names():
    classes = ("1", "10", "2", "3", "4")  # the network knows them as 1, 2, 3, 4, 10
    by_folder = np.array([0, 2, 3, 4, 1])[LABELS]
    (sentence,) = said(NORMALISED, by_folder, classes=classes)
    assert "in the order of their numbers" in sentence


def test_few_samples_say_nothing():
    assert said(PIXELS[:10], LABELS[:10]) == ()


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
