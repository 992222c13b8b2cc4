from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from compress.backends.base import Session
from compress.backends.onnxruntime import OnnxRuntime
from compress.errors import DataError
from compress.profiling.latency import (
    ROUNDS,
    Budget,
    measure_latency,
    measure_ratio,
    measure_ratios,
    no_collection,
    ratio_of,
    sample_feeds,
    summary,
    timed,
)
from tests.graphs import classifier, samples

SHORT = Budget(seconds=0.05, least=30, most=700, warm_up_seconds=0.1)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    artifact = OnnxRuntime().compile(classifier(), tmp_path_factory.mktemp("latency"), {})
    with OnnxRuntime().open(artifact) as opened:
        yield opened


@pytest.mark.parametrize(
    "calls, p90, p99",
    [(30, False, False), (63, False, False), (64, True, False), (661, True, False), (662, True, True)],
)
def test_percentiles_need_as_many_calls_as_loadgen_asks(calls: int, p90: bool, p99: bool) -> None:
    found = summary(np.linspace(1, 2, calls), 1)
    assert (found.p90_ms is not None, found.p90_interval is not None) == (p90, p90)
    assert (found.p99_ms is not None, found.p99_interval is not None) == (p99, p99)


def test_every_percentile_is_inside_its_interval_and_these_hold_their_level() -> None:
    random, inside = np.random.default_rng(0), np.zeros(3)
    truth = [math.exp(0.1 * z) for z in (0.0, 1.2815515655446004, 2.3263478740408408)]
    for _ in range(400):
        found = summary(random.lognormal(0, 0.1, 700), 1)
        figures = [
            (found.p50_ms, found.interval),
            (found.p90_ms, found.p90_interval),
            (found.p99_ms, found.p99_interval),
        ]
        for index, (value, interval) in enumerate(figures):
            assert value is not None
            assert interval is not None
            assert interval.low <= value <= interval.high
            inside[index] += interval.low <= truth[index] <= interval.high
    assert (inside / 400 >= 0.93).all()


def test_a_measured_latency_says_what_was_dropped(session: Session) -> None:
    found = measure_latency(session, sample_feeds(session, None, 2), 2, SHORT)
    assert found.iterations >= 30
    assert found.warm_up is not None
    assert found.warm_up.calls >= 2
    assert found.throughput_per_s > 0


def test_a_ratio_is_bounded_and_keeps_the_builds_own_figures(session: Session) -> None:
    found = measure_ratio(session, session, sample_feeds(session, None, 1), 1, SHORT)
    assert found.ratio is not None
    assert found.ratio_interval is not None
    assert found.ratio_interval.low <= found.ratio <= found.ratio_interval.high
    assert found.warm_up is not None


def test_a_ratio_over_rounds_counts_each_pair_of_sessions_once(session: Session) -> None:
    opened: list[int] = []

    @contextmanager
    def pair(number: int) -> Iterator[tuple[Session, Session, bool]]:
        opened.append(number)
        yield session, session, False

    feeds = {batch: sample_feeds(session, None, batch) for batch in (1, 3)}
    found = measure_ratios(pair, feeds, SHORT)
    assert opened == list(range(ROUNDS))
    assert list(found) == [1, 3]
    for ratio, interval in found.values():
        assert interval.low <= ratio <= interval.high


def test_sessions_that_differ_from_round_to_round_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    (_, alike), (_, moody) = (ratio_of(list(random.normal(0, spread, ROUNDS))) for spread in (0.001, 0.2))
    assert alike.high / alike.low < 1.02
    assert moody.high / moody.low > 1.1


def test_prepared_feeds_are_checked_before_anything_is_timed(session: Session) -> None:
    with pytest.raises(DataError):
        session.prepared({"x": samples(1).astype(np.float64)})


def test_a_prepared_call_runs_the_feeds(session: Session) -> None:
    feeds = {"x": samples(3)}
    (found,) = session.prepared(feeds)()  # type: ignore[misc]
    np.testing.assert_array_equal(found, session.run(feeds)[0])


def test_no_garbage_is_collected_while_calls_are_timed() -> None:
    states: list[bool] = []

    def call() -> float:
        states.append(gc.isenabled())
        return 1.0

    timed(call, Budget(seconds=0.0, least=3, most=3, warm_up_seconds=0.01))
    assert not any(states)
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
