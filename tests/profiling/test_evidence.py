"""What is told of data that can show no build to be inside the margin."""

from __future__ import annotations

import pytest

from compress.metrics import load_metric
from compress.profiling.accuracy import evidence_notes


@pytest.mark.parametrize(
    ("samples", "margin", "told"),
    [
        (300, 1.0, None),
        (100, 1.0, "give about 270 samples, or a wider margin"),
        (100, 5.0, None),
        (10_000, 0.0, "give a wider margin"),
        (100, -0.5, "give a wider margin"),
    ],
)
def test_samples_that_are_too_few_say_how_many_would_do(
    samples: int, margin: float, told: str | None
) -> None:
    notes = evidence_notes([load_metric("top-1")], samples, margin)
    assert len(notes) == (told is not None)
    assert all(str(told) in note for note in notes)
