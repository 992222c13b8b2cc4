"""The forecast of a build's time counts calls: a network of a fixed batch takes many samples in one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from compress.core.tensor_spec import TensorSpec
from compress.recipe import Recipe, Step
from compress.search.forecast import Forecast, Seconds
from compress.search.proposals import ORIGINAL
from compress.target.target import load_target

INT8 = Recipe("int8", (Step("quantize", {"scope": "all"}),))


@pytest.mark.parametrize(
    ("batch", "recipe", "calls"),
    [
        ("batch", ORIGINAL, 60),
        ("batch", INT8, 60 + 20),
        (8, ORIGINAL, 8),
        (8, INT8, 8 + 3),
        (64, ORIGINAL, 1),
    ],
)
def test_samples_are_divided_by_a_fixed_batch(batch: int | str, recipe: Recipe, calls: int) -> None:
    """A plan over 60 samples to judge by and 20 to calibrate on, each call of which takes from 1 to 2 s."""
    network: Any = SimpleNamespace(inputs=(TensorSpec("x", "float32", (batch, 3, 8, 8)),))
    task: Any = SimpleNamespace(calls=SimpleNamespace(evaluation=range(60), calibration=range(20)))
    host: Any = SimpleNamespace(source="estimated", builds_take_seconds=True)
    forecast = Forecast(network, task, load_target("jetson"), host, seconds=1.0)
    forecast.__dict__["_call"] = SimpleNamespace(low_ms=1000.0, high_ms=2000.0)
    assert forecast.of(recipe) == Seconds(1.0 + calls, 6.0 + 2 * calls)
