from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from compress.errors import RecipeError
from compress.techniques.distill import Distill
from compress.techniques.qat import Qat
from compress.training.settings import TrainingOptions

GIVEN = {
    "epochs": 5,
    "epoch_samples": 777,
    "batch_size": 48,
    "learning_rate": 0.02,
    "average": 0.5,
    "held_out": 0.25,
    "patience": 7,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch_size": True},
        {"epoch_samples": 0},
        {"learning_rate": 0},
        {"learning_rate": math.nan},
        {"average": 1.0},
        {"held_out": 0.0},
        {"held_out": "a"},
        {"patience": 0},
        {"training_precision": "float8"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        TrainingOptions(**wrong)


@pytest.mark.parametrize("technique", [Distill(training_precision="bfloat16", **GIVEN), Qat(**GIVEN)])
def test_every_setting_of_a_technique_arrives(technique):
    precision = {"training_precision": "bfloat16"} if isinstance(technique, Distill) else {}
    expected = asdict(TrainingOptions()) | GIVEN | precision
    found = asdict(technique)
    assert {name: found[name] for name in expected} == expected
    assert technique.with_batch(6).batch_size == 6
