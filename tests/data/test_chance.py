"""A network that is right 95 % of the time is never called one at chance, and one that guesses on 200 samples is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compress.data.chance import Looked

DRAWS = 200
CASES = list(itertools.product((2, 10, 100), (True, False)))


def labels_of(count: int, classes: int, balanced: bool, random: np.random.Generator) -> np.ndarray:
    """Labels of all classes alike, or nine of ten of the first class and the rest of the others."""
    labels = np.arange(count) % classes
    if not balanced:
        labels = np.where(np.arange(count) < 9 * count // 10, 0, 1 + np.arange(count) % (classes - 1))
    return random.permutation(labels)


def mostly_right(labels: np.ndarray, classes: int, random: np.random.Generator) -> np.ndarray:
    other = (labels + random.integers(1, classes, len(labels))) % classes
    return np.where(random.random(len(labels)) < 0.05, other, labels)


@pytest.mark.parametrize("count", [20, 50, 200])
@pytest.mark.parametrize(("classes", "balanced"), CASES)
def test_a_network_that_is_right_95_percent_of_the_time_is_never_at_chance(
    count: int, classes: int, balanced: bool
) -> None:
    random = np.random.default_rng(count + classes)
    for _ in range(DRAWS):
        labels = labels_of(count, classes, balanced, random)
        assert not Looked(mostly_right(labels, classes, random), labels, classes).at_chance


@pytest.mark.parametrize("count", [200, 400])
@pytest.mark.parametrize(("classes", "balanced"), CASES)
@pytest.mark.parametrize("guess", ["any class", "as often as the labels", "the commonest class"])
def test_a_network_that_guesses_is_always_at_chance(
    count: int, classes: int, balanced: bool, guess: str
) -> None:
    random = np.random.default_rng(count + classes)
    for _ in range(DRAWS):
        labels = labels_of(count, classes, balanced, random)
        predicted = {
            "any class": random.integers(0, classes, count),
            "as often as the labels": random.permutation(labels),
            "the commonest class": np.full(count, np.bincount(labels).argmax()),
        }[guess]
        assert Looked(predicted, labels, classes).at_chance


def test_few_samples_of_two_classes_cannot_tell() -> None:
    labels = np.arange(20) % 2
    assert not Looked(np.where(np.arange(20) < 12, labels, 1 - labels), labels, 2).at_chance
    assert Looked(1 - labels, labels, 2).at_chance


def test_one_rare_sample_tells_nothing_of_a_network_that_always_gives_the_common_class() -> None:
    labels = np.arange(50) // 49
    assert not Looked(np.zeros(50, np.int64), labels, 2).at_chance


def test_samples_of_one_class_tell_nothing() -> None:
    assert not Looked(np.ones(300, np.int64), np.zeros(300, np.int64), 2).at_chance


@pytest.mark.parametrize(("hits", "at_chance"), [(60, True), (70, True), (100, False)])
def test_chance_is_what_unrelated_answers_get(hits: int, at_chance: bool) -> None:
    labels = np.arange(300) % 5
    predicted = (labels + 1 + np.arange(300) // 5 % 4) % 5
    predicted[:hits] = labels[:hits]
    assert Looked(predicted, labels, 5).at_chance is at_chance


def test_a_network_that_is_a_little_better_than_chance_shows_it_on_many_samples() -> None:
    labels = np.arange(4000) % 2
    right = np.arange(4000) // 2 % 100 < 56  # 56 % of each class
    assert not Looked(np.where(right, labels, 1 - labels), labels, 2).at_chance
