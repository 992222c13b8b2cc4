from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compress.backends.base import Session
from compress.backends.onnxruntime import OnnxRuntime
from compress.core.tensor_spec import TensorSpec
from compress.data.binding import bind_split
from compress.data.task import load_task
from compress.errors import DataError
from compress.profiling.latency import Budget, no_collection, sample_feeds, summary, timed
from tests.graphs import classifier, samples

Array = np.ndarray[Any, Any]


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


def test_a_batch_to_time_with_holds_samples_of_one_shape() -> None:
    class Sequences:
        """Lengths 5 and 7, of which more are 7."""

        def __iter__(self) -> Iterator[Array]:
            for number in range(30):
                yield np.full((1, 5 if number % 3 == 0 else 7, 2), number, np.float32)

    task = load_task(Sequences())
    spec = TensorSpec("x", "float32", ("batch", "length", 2))
    session = SimpleNamespace(inputs=(spec,))
    task = replace(task, evaluation=bind_split(task.evaluation, (spec,), "data"))
    (feeds,) = sample_feeds(session, task, 32).values()  # type: ignore[arg-type]
    assert feeds.shape == (32, 7, 2)
    assert 1 < len(np.unique(feeds[:, 0, 0])) < 32  # real samples, repeated where there are too few


def test_without_data_an_open_axis_is_asked_for() -> None:
    session = SimpleNamespace(inputs=(TensorSpec("x", "float32", ("batch", 3, "height", "width")),))
    with pytest.raises(DataError, match=r"size of every axis of x.*give data"):
        sample_feeds(session, None)  # type: ignore[arg-type]


def test_shapes_that_are_given_are_those_of_the_noise() -> None:
    image, mask = TensorSpec("x", "float32", ("batch", 3, "h", "w")), TensorSpec("m", "int64", ("batch", "h"))
    session = SimpleNamespace(inputs=(image, mask))
    shapes = [("", (1, 3, 8, 6)), ("m", (1, 8))]
    feeds = sample_feeds(session, None, 4, shapes)  # type: ignore[arg-type]
    assert {name: array.shape for name, array in feeds.items()} == {"x": (4, 3, 8, 6), "m": (4, 8)}
    for wrong, told in (
        ([("", (1, 1, 8, 6))], "a shape for x"),
        ([("x", (1, 3, 8))], "a shape for x"),
        ([("y", (1, 8))], "name one of: x, m"),
        ([("", (1, 3, 8, 6))] * 3, "give --shape once for each"),
    ):
        with pytest.raises(DataError, match=told):
            sample_feeds(session, None, 4, wrong)  # type: ignore[arg-type]


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


def test_samples_of_the_shape_that_is_named_are_taken_where_there_are_any() -> None:
    data = [{"x": np.full((4, length, 2), length, np.float32)} for length in (7, 7, 7, 5)]
    task = load_task(data, calibrates=False)
    spec = TensorSpec("x", "float32", ("batch", "length", 2))
    session = SimpleNamespace(inputs=(spec,))
    task = replace(task, evaluation=bind_split(task.evaluation, (spec,), "data"))
    for length, found in ((5, 5), (7, 7), (9, 7)):
        (feeds,) = sample_feeds(session, task, 8, [("x", (1, length, 2))]).values()  # type: ignore[arg-type]
        assert feeds.shape == (8, found, 2)
