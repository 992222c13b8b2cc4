from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.backends.base import Session
from compress.backends.onnxruntime import OnnxRuntime
from compress.profiling.latency import Budget
from compress.profiling.scenarios import best, early_stopping, knee, offline, offline_sizes, run, stream
from compress.records.profile import Latency
from tests.graphs import classifier
from tests.records import latency

SHORT = Budget(seconds=0.02, least=5, most=700, warm_up_seconds=0.05)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    artifact = OnnxRuntime().compile(classifier(), tmp_path_factory.mktemp("scenarios"), {})
    with OnnxRuntime().open(artifact) as opened:
        yield opened


def swept(*throughputs: float) -> list[Latency]:
    return [
        replace(latency(batch=2**power), throughput_per_s=throughput)
        for power, throughput in enumerate(throughputs)
    ]


def test_single_stream_asks_for_one_sample_and_tells_p90(session: Session) -> None:
    found = run("single-stream", session, None, SHORT)
    assert (found.query_samples, found.batch, found.percentile) == (1, 1, 90)
    assert found.queries >= 64
    assert found.latency_ms is not None
    assert found.interval is not None
    assert found.interval.low <= found.latency_ms <= found.interval.high
    assert found.early_stopping_ms is not None


def test_multi_stream_asks_for_eight_samples_and_tells_p99_on_as_many_queries_as_it_needs(
    session: Session,
) -> None:
    found = run("multi-stream", session, None, SHORT)
    assert (found.query_samples, found.batch, found.percentile) == (8, 8, 99)
    assert found.queries >= 662
    assert found.latency_ms is not None


def test_offline_sweeps_and_names_the_best(session: Session) -> None:
    found = run("offline", session, None, SHORT, sizes=(4, 1))
    assert [entry.batch for entry in found.sweep] == [1, 4]
    assert found.throughput_per_s == max(entry.throughput_per_s for entry in found.sweep)
    assert found.batch == best(found.sweep).batch
    assert found.knee in (1, 4)
    assert (found.percentile, found.latency_ms) == (None, None)


def test_a_fixed_batch_answers_a_query_in_several_calls() -> None:
    calls: list[int] = []

    def call_of(batch: int) -> Callable[[], object]:
        return lambda: calls.append(batch)

    found = stream("multi-stream", call_of, 3, Budget(seconds=0.0, most=700, warm_up_seconds=0.0))
    assert found.queries == 662
    assert len(calls) == 3 * (662 + 2)  # 3 × 3 ≥ 8 samples; two queries of warm-up
    assert set(calls) == {3}
    assert (found.batch, found.query_samples) == (3, 8)


def test_a_network_of_fixed_batch_sweeps_nothing(tmp_path: Path) -> None:
    artifact = OnnxRuntime().compile(classifier(batch=4), tmp_path, {})
    with OnnxRuntime().open(artifact) as opened:
        found = run("offline", opened, None, SHORT, sizes=(1, 2))
    assert [entry.batch for entry in found.sweep] == [4]


class Clock:
    """In place of the machine's, which a busy neighbour makes jump: time passes only where it is said to."""

    def __init__(self) -> None:
        self.ns = 0

    def perf_counter_ns(self) -> int:
        return self.ns

    def perf_counter(self) -> float:
        return self.ns / 1e9


def test_the_sweep_ends_when_throughput_no_longer_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    clock = Clock()
    monkeypatch.setattr("compress.profiling.latency.time", clock)

    def call_of(batch: int) -> Callable[[], object]:
        def work() -> None:
            tried.append(batch)
            clock.ns += 2_000_000 * batch**2

        return work

    budget = Budget(seconds=0.0, least=4, most=4, warm_up_seconds=0.0)
    offline(call_of, [1, 2, 3, 4, 8], budget)
    assert 8 not in tried
    tried.clear()
    offline(call_of, [1, 2, 3, 4, 8], budget, every=True)
    assert 8 in tried


@given(n=st.integers(0, 3000), percent=st.sampled_from([90, 99]))
@settings(max_examples=60)
def test_early_stopping_is_the_order_statistic_that_loadgen_takes(n: int, percent: int) -> None:
    q = 1 - percent / 100

    def at_most(t: int) -> float:
        return sum(comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(t + 1)) if n < 900 else np.nan

    found = early_stopping(np.arange(1.0, n + 1), percent)
    if found is None:
        assert n < {90: 64, 99: 662}[percent]
        return
    t = n - int(found) + 1
    assert t >= 1
    if n < 900:
        assert at_most(t) < 0.01 <= at_most(t + 1)


def test_early_stopping_needs_exactly_the_queries_that_loadgen_names() -> None:
    for percent, least in ((90, 64), (99, 662)):
        assert early_stopping(np.ones(least - 1), percent) is None
        assert early_stopping(np.ones(least), percent) == 1.0


def test_early_stopping_is_above_the_true_percentile_in_99_of_100_runs() -> None:
    random = np.random.default_rng(0)
    true = np.log(10)  # p90 of an exponential
    above = [early_stopping(random.exponential(size=300), 90) >= true for _ in range(2000)]
    assert np.mean(above) > 0.985


def test_knee_is_the_smallest_size_close_to_the_best() -> None:
    assert knee(swept(100, 180, 300, 310, 305)) == 4
    assert knee(swept(100, 90, 80)) == 1
    assert knee(swept(100, 200, 400)) == 4


def test_sizes_stay_within_memory() -> None:
    assert offline_sizes(1)[-1] == 256
    assert offline_sizes(3 * 224 * 224 * 4)[-1] == 64
    assert offline_sizes(1 << 30) == [1]
