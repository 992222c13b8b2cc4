from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.profiling.latency import summary
from compress.profiling.noise import DRIFT, doubts, drift
from compress.records.profile import WarmUp
from tests.records import latency


def noise(seed: int, n: int = 400, spread: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(0, spread, n)


def test_flat_times_seldom_drift() -> None:
    assert np.mean([drift(noise(seed)) is None for seed in range(200)]) > 0.97


@given(seed=st.integers(0, 2**32 - 1), change=st.floats(-0.5, 1.0).filter(lambda change: abs(change) > 0.1))
@settings(max_examples=50)
def test_halves_that_differ_drift_by_as_much(seed: int, change: float) -> None:
    times = noise(seed)
    times[200:] *= 1 + change
    found = drift(times)
    assert found is not None
    assert abs(found - change) < 0.05


def test_a_difference_within_the_margin_is_no_drift_however_sure() -> None:
    times = np.concatenate([np.linspace(1, 1.0001, 200), (1 + DRIFT / 2) * np.linspace(1, 1.0001, 200)])
    assert drift(times) is None
    assert drift(times[::-1]) is None


def test_few_times_do_not_tell() -> None:
    assert drift(np.array([1.0, 2.0, 1.0, 2.0])) is None
    assert drift(np.array([1.0])) is None


def test_quiet_times_raise_no_doubt() -> None:
    times = np.tile([1.0, 1.001, 1.002], 100)
    assert list(doubts(summary(times, 1, WarmUp(100, 0.1, True)))) == []


def test_each_doubt_is_told_with_its_batch_and_figure() -> None:
    quiet = replace(latency(p50_ms=2.0), interval=replace(latency().interval, low=1.99, high=2.01))
    (told,) = doubts(replace(quiet, warm_up=WarmUp(12, 1.0, False)))
    assert told == "batch 1: no steady state within 1 s of warm-up (12 calls)"
    (told,) = doubts(replace(quiet, drift=0.123))
    assert told == "batch 1: the median of the second half of the calls is +12.3 % from the first half's"
    (told,) = doubts(latency())
    assert "10.0 % of it wide" in told
