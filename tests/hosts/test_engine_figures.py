"""Figures of several engines of one graph, put together."""

from __future__ import annotations

import numpy as np
import pytest

from compress.hosts.tensorrt import _over_builds


def times(center: float) -> np.ndarray:
    return center * np.linspace(0.99, 1.01, 201)


@pytest.mark.parametrize(("slowest", "fastest"), [(1.0, 1.0), (1.5, 1.0), (1.0, 0.5), (1.5, 0.5)])
def test_the_interval_of_the_median_holds_each_builds_own(slowest: float, fastest: float) -> None:
    """Which of its engines a board will have built is chance, so that each one's median is a possible one."""
    runs = [(0, times(1.0)), (1, times(slowest)), (2, times(1.0)), (3, times(fastest)), (4, times(1.0))]
    latency = _over_builds(runs, batch=2)
    assert (latency.batch, latency.p50_ms) == (2, pytest.approx(1.0, abs=0.01))
    assert latency.interval.low == pytest.approx(fastest, abs=0.005)
    assert latency.interval.high == pytest.approx(slowest, abs=0.005)


def test_runs_of_one_build_are_one_median() -> None:
    runs = [(0, times(1.0)), (1, times(1.0)), (0, times(1.2)), (1, times(1.0))]
    latency = _over_builds(runs, batch=1)
    assert latency.interval.low <= 1.0
    assert latency.interval.high == pytest.approx(float(np.median([times(1.0), times(1.2)])))


def test_drift_is_of_one_engine_and_not_from_one_to_the_next() -> None:
    steady, rising = times(1.0)[np.random.default_rng(0).permutation(201)], np.linspace(1.0, 1.5, 201)
    other = 2 * times(1.0)[np.random.default_rng(1).permutation(201)]
    assert _over_builds([(0, steady), (1, other)], batch=1).drift is None
    assert _over_builds([(0, steady), (1, rising)], batch=1).drift is not None
