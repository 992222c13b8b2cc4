"""Latency of one call, host to host, and the ratio of two builds from interleaved pairs.

A build is never compared with a stored time: on a shared machine milliseconds move by a factor of two while the
ratio of two builds, timed alternately in one process, holds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.record import Interval, Latency
from compress.statistics.quantiles import quantile_interval

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.task import Task

Feeds = Mapping[str, "np.ndarray[Any, Any]"]

#: Two-sided level of every interval printed here.
LEVEL = 0.95


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Attributes:
        seconds: Wall time to spend on the timed calls of one batch size.
        least: Timed calls (or pairs) at the least, whatever they take.
        most: Timed calls (or pairs) at the most.
        warm_up_seconds: Wall time of warm-up at the most.
    """

    seconds: float = 2.0
    least: int = 30
    most: int = 400
    warm_up_seconds: float = 1.0


def measure_latency(session: Session, feeds: Feeds, batch: int, budget: Budget | None = None) -> Latency:
    """Time one build alone.

    Args:
        session: The opened build.
        feeds: One batch of real samples.
        batch: Samples in ``feeds``.
        budget: How long to measure.

    Returns:
        p50, p90 and p99 of single calls back to back, after warm-up.
    """
    budget = budget or Budget()
    call = _call(session, feeds)
    _warm_up(call, budget)
    times: list[float] = []
    _repeat(lambda: times.append(call()), budget)
    return _latency(np.array(times), batch)


def measure_ratio(
    session: Session, reference: Session, feeds: Feeds, batch: int, budget: Budget | None = None
) -> Latency:
    """Time a build and the reference alternately, the order flipped each pair.

    Args:
        session: The opened build.
        reference: The opened build it is compared with.
        feeds: One batch of real samples, for both.
        batch: Samples in ``feeds``.
        budget: How long to measure.

    Returns:
        The build's latency with ``ratio``: the median over pairs of its time over the reference's, and its
        exact interval from order statistics.
    """
    budget = budget or Budget()
    pairs = Pairs(session, reference, feeds, budget)
    _repeat(pairs.take, budget)
    latency = _latency(np.array(pairs.times_ms), batch)
    log_ratios = pairs.log_ratios
    low, high = _median_interval(np.array(log_ratios))
    return Latency(
        **{
            **vars(latency),
            "ratio": math.exp(float(np.median(log_ratios))),
            "ratio_interval": Interval(math.exp(low), math.exp(high), LEVEL),
        }
    )


class Pairs:
    """Interleaved calls of a build and a reference, both warmed up; the order is flipped each pair.

    Args:
        session: The build.
        reference: What it is compared with.
        feeds: One batch of real samples, for both.
        budget: Bounds the warm-up.

    Attributes:
        times_ms: Of the build, one per pair.
        log_ratios: ln(build / reference), one per pair.
    """

    def __init__(
        self, session: Session, reference: Session, feeds: Feeds, budget: Budget | None = None
    ) -> None:
        self.times_ms: list[float] = []
        self.log_ratios: list[float] = []
        self._own, self._other = _call(session, feeds), _call(reference, feeds)
        for call in (self._own, self._other):
            _warm_up(call, budget or Budget())

    def take(self) -> None:
        """Time one pair."""
        if len(self.times_ms) % 2:
            other, own = self._other(), self._own()
        else:
            own, other = self._own(), self._other()
        self.times_ms.append(own)
        self.log_ratios.append(math.log(own / other))


def sample_feeds(session: Session, task: Task | None, batch: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """One batch to time a session with: real samples where there are any, else seeded noise (ones for integers).

    Args:
        session: Its inputs say what is wanted.
        task: Its first evaluation samples are taken, repeated where there are fewer; times may depend on values.
        batch: Samples, where the network takes any number.
    """
    fixed = session.inputs[0].with_batch(batch)[0]
    if task is not None:
        rows = np.arange(int(fixed)) % len(task.evaluation)
        return next(iter(task.evaluation.take(rows).batches(len(rows)))).inputs
    noise = np.random.default_rng(0)
    feeds: dict[str, np.ndarray[Any, Any]] = {}
    for spec in session.inputs:
        shape = [size if isinstance(size, int) else 1 for size in spec.with_batch(batch)]
        floating = np.issubdtype(np.dtype(spec.dtype), np.floating)
        feeds[spec.name] = (noise.standard_normal(shape) if floating else np.ones(shape)).astype(spec.dtype)
    return feeds


def _call(session: Session, feeds: Feeds) -> Callable[[], float]:
    def call() -> float:
        start = time.perf_counter_ns()
        session.run(feeds)
        return (time.perf_counter_ns() - start) / 1e6

    return call


def _warm_up(call: Callable[[], float], budget: Budget) -> None:
    """Run until the last five calls are no faster than the five before, or the time is up."""
    deadline = time.perf_counter() + budget.warm_up_seconds
    times = [call(), call()]
    while time.perf_counter() < deadline:
        times.append(call())
        if len(times) >= 10 and np.median(times[-5:]) >= 0.98 * np.median(times[-10:-5]):
            return


def _repeat(measure: Callable[[], None], budget: Budget) -> None:
    deadline = time.perf_counter() + budget.seconds
    for count in range(budget.most):
        if count >= budget.least and time.perf_counter() > deadline:
            return
        measure()


def _latency(times: np.ndarray[Any, np.dtype[np.float64]], batch: int) -> Latency:
    p50, p90, p99 = (float(value) for value in np.percentile(times, (50, 90, 99)))
    low, high = _median_interval(times)
    return Latency(
        source="measured",
        batch=batch,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        interval=Interval(low, high, LEVEL),
        throughput_per_s=1e3 * batch * len(times) / float(times.sum()),
        iterations=len(times),
    )


def _median_interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    interval = quantile_interval(values, 0.5, LEVEL)
    # Fewer than six values bound no median at 95 %; the budget's floor keeps clear of that.
    return interval if interval is not None else (-math.inf, math.inf)
