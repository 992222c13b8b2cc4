"""What is told of data that can show no build to be inside the margin."""

from __future__ import annotations

import numpy as np
import pytest

from compress.metrics import load_metric
from compress.profiling.accuracy import evidence_notes, evidence_of_original


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


def test_values_of_the_original_tell_what_a_metric_without_a_range_leaves_open() -> None:
    metric = load_metric("perplexity")
    values = np.random.default_rng(0).uniform(2.5, 4.5, 40)
    (note,) = evidence_of_original(values, metric, 1.0)
    assert "40 evaluation samples cannot show a drop of at most 1 points" in note
    needed = int(note.partition("give about ")[2].split()[0])
    assert evidence_of_original(values, metric, 10.0) == ()
    assert evidence_of_original(np.resize(values, 2 * needed), metric, 1.0) == ()
    assert len(evidence_of_original(np.resize(values, needed // 2), metric, 1.0)) == 1


def test_metrics_that_are_told_of_before_and_too_few_samples_are_not_told_again() -> None:
    values = np.random.default_rng(0).uniform(0, 1, 40)
    assert evidence_of_original(values, load_metric("token-agreement"), 0.01) == ()
    assert evidence_of_original(values > 0.5, load_metric("top-1"), 0.01) == ()
    assert evidence_of_original(values[:29], load_metric("perplexity"), 0.01) == ()
