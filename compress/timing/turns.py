"""Turns of builds: bursts of calls in their own processes, so close together that all meet the same conditions.

A round is a burst of every build, the order turned each round; a burst is some milliseconds of calls back to back,
and its figure the median of their times. All processes but the one that calls are stopped: threads that spin while
they wait for the next call, as runtimes have them by default, take nothing from the others.

Why so: on a shared two-core machine whose speed moved by 20 to 40 % within tenths of a second, the ratio of two
processes of one file lay within 1 % (one standard deviation; most within 2 %) with bursts of 2 to 8 ms, and within 10 %
with bursts of 50 ms and pauses that let spinning threads fall asleep. Sessions of one process that are put to sleep
after each call, which was measured before that, tell ratios that no user sees: sleeping threads cost an fp32 build more
than an int8 one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.timing.processes import Times, Worker

#: Seconds of calls in a burst; short, so that the builds of a round meet the same machine.
BURST_S = 0.003

#: Milliseconds of a call from which on a burst is one call, and none is dropped.
SLOW_MS = 20.0

#: Bytes of a file from which on a burst is at least :data:`_SETTLING_CALLS` long, of which half are dropped, as long as
#: a call takes at most :data:`_SETTLING_MS`. Weights of this size share a cache with those of the other builds, and are
#: back in it after some calls: of a perceptron of 19 MB against its int8 build of 5 MB, bursts of two or three calls
#: told a ratio of 0.17, and calls back to back gave 0.19.
_LARGE_BYTES, _SETTLING_CALLS, _SETTLING_MS = 1_000_000, 6, 5.0

#: Seconds of calls before the first round.
_WARM_UP_S = 0.03

#: Rounds at the most; and at the least, where calls are not slow.
MOST_ROUNDS, LEAST_ROUNDS = 60, 5


@dataclass(frozen=True)
class Turns:
    """Times of the builds of one start, at one batch size.

    Attributes:
        medians_ms: Median time of the calls in each burst, in milliseconds, ``(rounds, builds)``.
        calls_ms: Times of each build's calls that count, in milliseconds.
        seconds: Wall time of everything with the warm-up, in seconds.
    """

    medians_ms: Times
    calls_ms: tuple[Times, ...]
    seconds: float

    def log_ratio(self, build: int, other: int) -> float:
        """Return the median over rounds of ln(time of one build / time of another), by their positions."""
        logs = np.log(self.medians_ms[:, build]) - np.log(self.medians_ms[:, other])
        return float(np.median(logs))


def take_turns(
    workers: Sequence[Worker],
    batch: int,
    seconds: float,
    *,
    most_rounds: int = MOST_ROUNDS,
    period_s: float | None = None,
) -> Turns:
    """Time builds in turns.

    Args:
        workers: Workers of the builds, at least one.
        batch: Number of samples in a call.
        seconds: Approximate wall time for all builds together, in seconds; :data:`LEAST_ROUNDS` rounds are made
            whatever they take, and one round of slow or paced calls.
        most_rounds: Largest number of rounds.
        period_s: Seconds from one call to the next, for paced calls, one a burst; None for calls back to back.

    Raises:
        NetworkError: A build fails or crashes.
    """
    begin = time.perf_counter()
    bursts = [_Burst(worker, batch, period_s) for worker in workers]
    medians: list[list[float]] = []
    slow = any(burst.slow for burst in bursts)
    deadline = time.perf_counter() + seconds
    while len(medians) < most_rounds:
        turned = len(medians) % len(bursts)
        order = [*range(turned, len(bursts)), *range(turned)]
        figures = dict.fromkeys(order, 0.0)
        for index in order:
            figures[index] = bursts[index].take()
        medians.append([figures[index] for index in range(len(bursts))])
        enough = len(medians) >= (1 if slow else LEAST_ROUNDS)
        if enough and time.perf_counter() > deadline:
            break
    kept_times = tuple(np.concatenate(burst.kept) for burst in bursts)
    return Turns(np.array(medians), kept_times, time.perf_counter() - begin)


class _Burst:
    """Maker of the bursts of one build.

    The first call of a burst finds the caches full of the other build's data, as no call back to back does, and is
    dropped, with a large file the first half of the calls; a slow call hardly notices.
    """

    def __init__(self, worker: Worker, batch: int, period_s: float | None) -> None:
        self._worker, self._batch, self._period_s = worker, batch, period_s
        self.kept: list[Times] = []
        call_ms = float(worker.calls(batch, _WARM_UP_S).min()) if period_s is None else 0.0
        self.slow = period_s is not None or call_ms >= SLOW_MS
        self._settles = worker.artifact.size_bytes >= _LARGE_BYTES and call_ms <= _SETTLING_MS

    def take(self) -> float:
        """Make one burst and return its median, in milliseconds."""
        if self.slow:
            times = self._worker.calls(self._batch, 0.0, period_s=self._period_s)
        elif self._settles:
            times = self._worker.calls(self._batch, BURST_S, least=_SETTLING_CALLS)
            times = times[len(times) // 2 :]
        else:
            times = self._worker.calls(self._batch, BURST_S, least=2)[1:]
        self.kept.append(times)
        return float(np.median(times))
