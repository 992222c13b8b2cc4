"""A build timed by itself, in several processes one after the other: calls back to back after a warm-up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.profiling.latency import Budget, shapes_of, summary
from compress.profiling.noise import drift
from compress.profiling.steady_state import is_steady
from compress.records.profile import Interval, Latency, WarmUp
from compress.timing.processes import Feeds, Times, Worker, workers

if TYPE_CHECKING:
    from compress.backends.base import Artifact

#: Starts: how a process's memory lies makes it a few percent faster or slower for as long as it lives.
STARTS = 3

#: Seconds of a piece of the warm-up, after each of which the times are asked whether they are steady.
_PIECE_S = 0.05

#: Milliseconds of a call from which on one start is enough: such calls take long, and differ little between starts.
_LONG_MS = 400.0


def time_alone(
    artifact: Artifact,
    feeds: Mapping[int, Feeds],
    paths: Mapping[int, Path],
    budget: Budget,
    period_s: float | None = None,
) -> tuple[tuple[Latency, ...], float | None]:
    """Time one build at each batch size.

    Args:
        artifact: The build.
        feeds: One batch for each batch size.
        paths: File that holds the batch, by batch size.
        budget: Time budget of each batch size, in all starts together.
        period_s: Seconds from call to call of a further figure at the smallest batch size, of paced calls; None for
            none.

    Returns:
        A figure for each batch size, in order, then the paced one; and the peak memory of the first process, in MiB.

    Raises:
        NetworkError: The build cannot be run, or crashes.
    """
    conditions = [(batch, None) for batch in feeds] + ([] if period_s is None else [(min(feeds), period_s)])
    calls: dict[tuple[int, float | None], list[Times]] = {condition: [] for condition in conditions}
    warm_ups: dict[tuple[int, float | None], WarmUp] = {}
    peak = None
    for start in range(STARTS):
        with workers([artifact], paths) as (worker,):
            peak = worker.peak_memory_mb if start == 0 else peak
            for batch, period in conditions:
                starts = calls[batch, period]
                if starts and float(np.median(starts[0])) > _LONG_MS:
                    continue
                share = budget.seconds / STARTS
                least = 1 if start else max(1, budget.least // STARTS)
                if period is not None:
                    count = max(least, round(share / period))
                    starts.append(worker.calls(batch, 0.0, least=count, period_s=period))
                    continue
                spent = _warm_up(worker, batch, budget.warm_up_seconds / STARTS)
                warm_ups.setdefault((batch, period), spent)
                starts.append(worker.calls(batch, share, most=max(1, budget.most // STARTS)))
    figures = tuple(
        _figure(calls[batch, period], batch, warm_ups.get((batch, period)), period, feeds[batch])
        for batch, period in conditions
    )
    return figures, peak


def _warm_up(worker: Worker, batch: int, seconds: float) -> WarmUp:
    """Call until the times are steady, or the time is up; at least one call is made."""
    begin = time.perf_counter()
    times = worker.calls(batch, 0.0)
    look = len(times)
    while time.perf_counter() - begin < seconds:
        times = np.concatenate([times, worker.calls(batch, min(_PIECE_S, seconds))])
        if len(times) >= 2 * look:  # half of what a look sees is new
            look = len(times)
            if is_steady(times):
                return WarmUp(len(times), time.perf_counter() - begin, True)
    return WarmUp(len(times), time.perf_counter() - begin, is_steady(times))


def _figure(
    starts: list[Times], batch: int, warm_up: WarmUp | None, period_s: float | None, feeds: Feeds
) -> Latency:
    """Summarize all starts; the median's interval contains each start's own median."""
    together = summary(np.concatenate(starts), batch, warm_up)
    drifts = [drifted for times in starts if (drifted := drift(times)) is not None]
    return replace(
        widened(together, [float(np.median(times)) for times in starts]),
        drift=max(drifts, key=abs, default=None),  # from one start to the next is no drift
        starts=len(starts),
        shapes=shapes_of(feeds),
        period_ms=None if period_s is None else 1e3 * period_s,
    )


def widened(latency: Latency, medians_ms: list[float]) -> Latency:
    """Return a figure whose interval also contains the median of each start, since starts differ in speed."""
    interval = latency.interval
    low, high = min(interval.low, *medians_ms), max(interval.high, *medians_ms)
    return replace(latency, interval=Interval(low, high, interval.level))
