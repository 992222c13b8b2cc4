from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.profiling.steady_state import BATCH, LEAST_BATCHES, is_steady, truncation, warm_up

seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(40, 600)


def noise(seed: int, n: int, spread: float = 0.02) -> np.ndarray:
    """Flat times of about 1, with the long right tail that latencies have."""
    return np.random.default_rng(seed).lognormal(0, spread, n)


@given(seed=seeds, n=lengths)
@settings(max_examples=50)
def test_times_that_fall_throughout_are_not_steady(seed: int, n: int) -> None:
    assert not is_steady(noise(seed, n) + np.exp(-np.arange(n) / (n / 2)))


@given(seed=seeds, n=lengths, up=st.booleans())
@settings(max_examples=50)
def test_drift_is_not_steady(seed: int, n: int, up: bool) -> None:
    ramp = 0.6 * np.arange(n) / n
    assert not is_steady(noise(seed, n) + (ramp if up else ramp[::-1]))


@given(seed=seeds, n=lengths, at=st.floats(0.55, 0.65))
@settings(max_examples=50)
def test_a_step_in_the_second_half_is_not_steady(seed: int, n: int, at: float) -> None:
    times = noise(seed, n)
    times[: int(at * n)] *= 1.5
    assert not is_steady(times)


@given(seed=seeds, n=st.integers(200, 600), at=st.floats(0.02, 0.3))
@settings(max_examples=50)
def test_a_slow_beginning_is_cut_where_it_ends(seed: int, n: int, at: float) -> None:
    slow = int(at * n)
    times = noise(seed, n)
    times[:slow] *= 2
    # A batch that is mostly slow goes; one that is mostly fast may stay.
    assert truncation(times) >= slow - BATCH // 2


def test_flat_noise_is_steady_nearly_always() -> None:
    for n in (BATCH * LEAST_BATCHES, 160, 640):
        assert np.mean([is_steady(noise(seed, n)) for seed in range(200)]) > 0.8


def test_interrupted_calls_do_not_make_times_unsteady() -> None:
    def interrupted(seed: int) -> np.ndarray:
        times = noise(seed, 400)
        times[np.random.default_rng(seed).random(400) < 0.03] *= 20
        return times

    assert np.mean([is_steady(interrupted(seed)) for seed in range(100)]) > 0.8


def test_equal_times_are_steady() -> None:
    assert is_steady(np.ones(100))


def test_too_few_calls_tell_nothing() -> None:
    assert not is_steady(np.ones(LEAST_BATCHES - 1))
    with pytest.raises(ValueError, match="16"):
        truncation(np.ones(LEAST_BATCHES - 1))


def test_warm_up_ends_when_the_times_are_steady() -> None:
    times = iter([*np.linspace(5, 1, 100), *[1.0] * 100_000])

    def call() -> float:
        time.sleep(0.0005)
        return next(times)

    spent = warm_up(call, 60.0)
    assert spent.steady
    assert spent.calls >= 150  # the look at 80 calls sees them falling
    assert spent.seconds < 60


def test_warm_up_that_never_settles_ends_when_the_time_is_up() -> None:
    count = 0

    def call() -> float:
        nonlocal count
        count += 1
        return float(count)

    spent = warm_up(call, 0.2)
    assert not spent.steady
    assert spent.calls == count
    assert spent.seconds >= 0.2


def test_slow_calls_are_too_few_to_tell() -> None:
    def call() -> float:
        time.sleep(0.02)
        return 20.0

    spent = warm_up(call, 0.1)
    assert (spent.steady, spent.calls >= 2) == (False, True)
