"""How a bundle's data was divided is read from its manifest, whatever somebody has written there."""

from __future__ import annotations

from typing import Any

import pytest

from compress.data.evaluation import MeasuredSamples


@pytest.mark.parametrize(
    "data", [None, 3, [], {}, {"split": None}, {"split": {"calibration_samples": None, "seed": "x"}}]
)
def test_what_is_no_number_is_the_default(data: Any) -> None:
    assert MeasuredSamples.of_bundle("a" * 64, {"data": data}) == MeasuredSamples("a" * 64)


def test_numbers_are_taken() -> None:
    manifest = {"data": {"split": {"calibration_samples": 20, "seed": 3}}}
    assert MeasuredSamples.of_bundle("a" * 64, manifest) == MeasuredSamples("a" * 64, 20, 3)
