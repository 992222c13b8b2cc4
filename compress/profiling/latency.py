"""Latency of one call, host to host, and the ratio of two builds from interleaved pairs.

Every percentile has its interval from order statistics, and is given only on as many calls as MLPerf LoadGen
asks of a run that is judged by it: 64 for p90, 662 for p99. Garbage is not collected while calls are
timed, as in :mod:`timeit`: that would be this process's garbage, and in no deployment's p99.

A build is never compared with a stored time: on a shared machine milliseconds move by a factor of two while the
ratio of two builds, timed alternately in one process, holds.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.profiling.noise import drift
from compress.profiling.pinning import bound
from compress.profiling.steady_state import warm_up
from compress.record import Interval, Latency, WarmUp
from compress.statistics.quantiles import quantile_interval

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.task import Task

Feeds = Mapping[str, "np.ndarray[Any, Any]"]
Times = np.ndarray[Any, np.dtype[np.float64]]

#: Two-sided level of every interval printed here.
LEVEL = 0.95

#: Calls without which a percentile is not told: with as many, LoadGen's early stopping bounds it at 99 % confidence.
LEAST_CALLS = {90: 64, 99: 662}

#: Of sessions of their own; six are the least that bound a median at 95 %.
ROUNDS = 8


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Attributes:
        seconds: Wall time to spend on the timed calls of one batch size.
        least: Timed calls (or pairs) at the least, whatever they take.
        most: Timed calls (or pairs) at the most.
        warm_up_seconds: Wall time of warm-up at the most; it ends when the times are steady.
    """

    seconds: float = 2.0
    least: int = 30
    most: int = 1000
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
    times, spent = timed(timer(session.prepared(feeds)), budget or Budget())
    return summary(times, batch, spent)


def timed(call: Callable[[], float], budget: Budget) -> tuple[Times, WarmUp]:
    """Durations of calls back to back, after warm-up.

    Args:
        call: Makes one call and gives its duration in milliseconds.
        budget: How long to measure.

    Returns:
        Milliseconds in order, ``(n,)``, and what the warm-up took.
    """
    times: list[float] = []
    with no_collection():
        spent = warm_up(call, budget.warm_up_seconds)
        _repeat(lambda: times.append(call()), budget)
    return np.array(times), spent


def timer(run: Callable[[], object]) -> Callable[[], float]:
    """A call that gives its duration in milliseconds; nothing is between the two readings of the clock but ``run``."""
    clock = time.perf_counter_ns

    def call() -> float:
        start = clock()
        run()
        return (clock() - start) / 1e6

    return call


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect no garbage until the end."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def measure_ratio(
    session: Session,
    reference: Session,
    feeds: Feeds,
    batch: int,
    budget: Budget | None = None,
    *,
    bind: bool = False,
) -> Latency:
    """Time a build and the reference alternately, the order flipped each pair.

    Args:
        session: The opened build.
        reference: The opened build it is compared with.
        feeds: One batch of real samples, for both.
        batch: Samples in ``feeds``.
        budget: How long to measure.
        bind: Bind the calling thread to a processor meanwhile; for sessions whose own threads are bound.

    Returns:
        The build's latency with ``ratio``: the median over pairs of its time over the reference's, and its
        interval from order statistics.
    """
    budget = budget or Budget()
    with no_collection():
        pairs = Pairs(session, reference, feeds, budget)
        with bound() if bind else nullcontext():
            _repeat(pairs.take, budget)
    ratio, interval = ratio_of(pairs.log_ratios)
    own = summary(np.array(pairs.times_ms), batch, pairs.warm_up)
    return replace(own, ratio=ratio, ratio_interval=interval)


def measure_ratios(
    opened: Callable[[int], AbstractContextManager[tuple[Session, Session, bool]]],
    feeds: Mapping[int, Feeds],
    budget: Budget | None = None,
) -> dict[int, tuple[float, Interval]]:
    """Time a build and the reference in rounds, each on sessions of its own, at every batch size.

    Where its memory lies and where its threads run makes a session a few percent faster or slower for as long as it
    lives, and no number of pairs of the same two sessions tells it. So a round is one observation.

    Args:
        opened: Opens both, by the round's number; with them, whether the calling thread is to be bound.
        feeds: Batch size → one batch of real samples.
        budget: How long to measure each batch size, in all rounds together.

    Returns:
        Batch size → the build's time over the reference's: the median over rounds of each one's median over pairs, and
        the interval of the rounds' median.
    """
    budget = budget or Budget()
    share = replace(
        budget,
        seconds=budget.seconds / ROUNDS,
        least=max(2, math.ceil(budget.least / ROUNDS)),
        most=max(2, math.ceil(budget.most / ROUNDS)),
        warm_up_seconds=min(2 * budget.warm_up_seconds, budget.seconds) / ROUNDS,
    )
    medians: dict[int, list[float]] = {batch: [] for batch in feeds}
    with no_collection():
        for number in range(ROUNDS):
            with opened(number) as (session, reference, bind):
                for batch, given in feeds.items():
                    pairs = Pairs(session, reference, given, share)
                    with bound() if bind else nullcontext():
                        _repeat(pairs.take, share)
                    medians[batch].append(float(np.median(pairs.log_ratios)))
    return {batch: ratio_of(each) for batch, each in medians.items()}


def ratio_of(log_ratios: Sequence[float]) -> tuple[float, Interval]:
    """The median ratio and its interval, from independent values of ln(build / reference)."""
    values = np.array(log_ratios)
    low, high = _median_interval(values)
    return math.exp(float(np.median(values))), Interval(math.exp(low), math.exp(high), LEVEL)


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
        warm_up: Of the build.
    """

    def __init__(
        self, session: Session, reference: Session, feeds: Feeds, budget: Budget | None = None
    ) -> None:
        self.times_ms: list[float] = []
        self.log_ratios: list[float] = []
        self._own, self._other = timer(session.prepared(feeds)), timer(reference.prepared(feeds))
        seconds = (budget or Budget()).warm_up_seconds
        self.warm_up = warm_up(self._own, seconds)
        warm_up(self._other, seconds)

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


def summary(times: Times, batch: int, spent: WarmUp | None = None) -> Latency:
    """What calls of one batch size tell.

    Args:
        times: Milliseconds of each call in order, ``(n,)``, at least one.
        batch: Samples in one call.
        spent: On warming up.
    """
    low, high = _median_interval(times)
    p90, p90_interval = percentile(times, 90)
    p99, p99_interval = percentile(times, 99)
    return Latency(
        source="measured",
        batch=batch,
        p50_ms=float(np.median(times)),
        p90_ms=p90,
        p99_ms=p99,
        interval=Interval(low, high, LEVEL),
        throughput_per_s=1e3 * batch * len(times) / float(times.sum()),
        iterations=len(times),
        p90_interval=p90_interval,
        p99_interval=p99_interval,
        warm_up=spent,
        drift=drift(times),
    )


def percentile(times: Times, percent: int) -> tuple[float | None, Interval | None]:
    """A high percentile with its interval; neither where there are fewer than :data:`LEAST_CALLS`.

    Args:
        times: Milliseconds, ``(n,)``.
        percent: 90 or 99.
    """
    bounds = quantile_interval(times, percent / 100, LEVEL)
    if len(times) < LEAST_CALLS[percent] or bounds is None:
        return None, None
    return float(np.percentile(times, percent)), Interval(bounds.lower, bounds.upper, LEVEL)


def _repeat(measure: Callable[[], None], budget: Budget) -> None:
    deadline = time.perf_counter() + budget.seconds
    for count in range(budget.most):
        if count >= budget.least and time.perf_counter() > deadline:
            return
        measure()


def _median_interval(values: Times) -> tuple[float, float]:
    interval = quantile_interval(values, 0.5, LEVEL)
    # Fewer than six values bound no median at 95 %; the budget's floor keeps clear of that.
    return interval if interval is not None else (-math.inf, math.inf)
