from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compress.metrics import load_metric
from compress.profiling.accuracy import drop_of
from compress.profiling.slices import members, slices_of
from compress.records.profile import Profile
from tests.records import profile

TOP_1 = load_metric("top-1")
LABELS = np.repeat([0, 1, 3], [40, 10, 50])
ORIGINAL = np.ones(100)
WORSE = np.where(np.arange(100) % 5 == 0, 0.0, 1.0) * (LABELS == 3) + (LABELS != 3)


def test_every_class_has_its_own_figures() -> None:
    zero, one, three = slices_of(WORSE, ORIGINAL, TOP_1, LABELS, ("cat", "dog", "bird"))
    assert [zero.name, one.name, three.name] == [
        "cat",
        "dog",
        "3",
    ]  # A label past the names goes by its number.
    assert [zero.samples, one.samples, three.samples] == [40, 10, 50]
    assert [zero.mean, three.mean] == pytest.approx([1.0, 0.8])
    assert three.drop is not None
    assert three.drop.points == pytest.approx(20)
    assert three.drop.churn == pytest.approx(0.2)


def test_the_error_is_shared_among_the_slices() -> None:
    three = slices_of(WORSE, ORIGINAL, TOP_1, LABELS)[2]
    mask = LABELS == 3
    alone = drop_of(WORSE[mask], ORIGINAL[mask], TOP_1, 0.05 / 3).interval
    assert three.drop is not None
    assert three.drop.interval.low == pytest.approx(alone.low)
    assert three.drop.interval.high == pytest.approx(alone.high)
    assert three.drop.interval.level == pytest.approx(1 - 0.1 / 3)


def test_the_original_has_no_drop() -> None:
    assert all(part.drop is None for part in slices_of(ORIGINAL, None, TOP_1, LABELS))


def test_too_few_samples_bound_no_mean_by_resampling() -> None:
    metric = replace(TOP_1, right_or_wrong=False)
    assert [part.drop is None for part in slices_of(WORSE, ORIGINAL, metric, LABELS)] == [False, True, False]


def test_members_of_named_groups() -> None:
    found = {name: mask.tolist() for name, mask in members(np.array(["night", "day", "night"]))}
    assert found == {"day": [False, True, False], "night": [True, False, True]}


def test_slices_are_read_back() -> None:
    whole = replace(profile(), slices=slices_of(WORSE, ORIGINAL, TOP_1, LABELS))
    assert Profile.from_dict(whole.to_dict()) == whole
    data = whole.to_dict()
    del data["slices"]
    assert Profile.from_dict(data).slices == ()


def test_the_drop_of_an_error_is_percent_of_its_mean_and_that_of_right_answers_points() -> None:
    error = load_metric("mean-error")
    assert drop_of(np.array([0.51, 0.51]), np.array([0.5, 0.5]), error).unit == "% of the mean"
    assert drop_of(np.array([1.0, 0.0]), np.array([1.0, 1.0]), TOP_1).unit == "points"
