"""Values for each sample whose mean is the figure of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compress.metrics.jackknife import Shares, from_influence, from_left_out

Array = np.ndarray[Any, Any]


def test_of_a_mean_the_values_are_the_samples_themselves() -> None:
    samples = np.random.default_rng(0).normal(size=40)
    without = (samples.sum() - samples) / (len(samples) - 1)
    assert np.allclose(from_left_out(float(samples.mean()), without), samples)


@given(influence=arrays.arrays(np.float64, st.integers(1, 50), elements=st.floats(-1e6, 1e6)))
def test_the_mean_is_the_figure(influence: Array) -> None:
    assert from_influence(0.3, influence).mean() == pytest.approx(0.3, abs=1e-8)


def _slow(counts: Array) -> float | None:
    above, below, labelled = counts.sum(axis=0)
    ratios = [a / b if b else 0.0 for a, b, own in zip(above, below, labelled, strict=True) if own > 0]
    return float(np.mean(ratios)) if ratios else None


@given(
    counts=arrays.arrays(
        np.float64,
        st.tuples(st.integers(2, 7), st.just(3), st.integers(1, 4)),
        elements=st.integers(0, 3).map(float),
    )
)
def test_shares_are_left_out_as_if_counted_anew(counts: Array) -> None:
    """Axes: samples; above, below, labelled; classes. Only classes that occur in a sample are kept of it."""
    samples, classes = np.nonzero(counts.sum(axis=1))
    entries = counts[samples, :, classes].T
    values = Shares(samples, classes, *entries).mean_ratio(len(counts))
    whole = _slow(counts)
    if whole is None:
        assert values is None
        return
    assert values is not None
    assert values.mean() == pytest.approx(whole)
    without = [_slow(np.delete(counts, i, axis=0)) for i in range(len(counts))]
    wanted = np.array([whole if each is None else each for each in without])
    assert np.allclose(values, from_left_out(whole, wanted))
