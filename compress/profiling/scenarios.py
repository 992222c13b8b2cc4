"""The scenarios of MLPerf Inference that one client makes: single-stream, multi-stream and offline.

They follow the rules (https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc, section
"Scenarios") and LoadGen, the benchmark's own generator of queries:

=============  =====================================================  ==================
scenario       queries                                                what counts
=============  =====================================================  ==================
single-stream  one sample each, one query after the other             p90 of latency
multi-stream   eight samples each, one query after the other          p99 of latency
offline        one, with all samples                                  samples per second
=============  =====================================================  ==================

A query may be run in calls of any batch size, and is over when the last of them is. Beside the percentile,
LoadGen's early stopping is reported: the t-th highest latency of n, for the largest t with

    P(at most t of n queries are above the true percentile) < 1 %

so the percentile is below it with 99 % confidence. The smallest n with t = 1 are the 64 queries for p90 and the
662 for p99 without which no figure is given. What is not kept are the rules' minimum duration (ten minutes)
and, offline, the minimum of 24,576 samples: figures from here are no submission.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compress.core.tensor_spec import fixed_batch
from compress.profiling.latency import (
    LEAST_CALLS,
    Budget,
    GivenShapes,
    Times,
    percentile,
    sample_feeds,
    summary,
    timed,
    timer,
)
from compress.records.profile import Latency, Scenario
from compress.statistics import binomial

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.task import Task

Name = Literal["single-stream", "multi-stream", "offline"]

#: In the order of the rules.
NAMES: tuple[Name, ...] = ("single-stream", "multi-stream", "offline")

#: Samples in a query of the multi-stream scenario.
MULTI_STREAM_SAMPLES = 8

#: A batch size is close to the best where its throughput is at least this share of the highest.
CLOSE = 0.95

#: Offline sizes, unless others are asked for: powers of two up to this one, as far as inputs of so many bytes, …
_LARGEST_BATCH, _LARGEST_INPUT = 256, 64 << 20

#: … until so many sizes in a row have given no higher throughput.
_PATIENCE = 3

#: Confidence of early stopping, as LoadGen has it.
_CONFIDENCE = 0.99

#: A call on so many samples; the feeds behind it are ready.
CallOf = Callable[[int], Callable[[], object]]


def run(
    name: Name,
    session: Session,
    task: Task | None,
    budget: Budget,
    sizes: Sequence[int] = (),
    shapes: GivenShapes = (),
) -> Scenario:
    """Measure one scenario.

    Args:
        name: Name of the scenario.
        session: The opened build.
        task: Task whose samples are fed; None feeds seeded noise.
        budget: Time budget of the measurement, offline for each batch size.
        sizes: Batch sizes to sweep offline; empty takes powers of two. A network of fixed batch takes only its own.
        shapes: Shapes of the inputs that are fed noise, where there is no data; none for inputs without open axes.
    """

    def call_of(batch: int) -> Callable[[], object]:
        return session.prepared(sample_feeds(session, task, batch, shapes))

    fixed = fixed_batch(session.inputs)
    if name != "offline":
        return stream(name, call_of, fixed, budget)
    if fixed is not None:
        return offline(call_of, [fixed], budget)
    sample_bytes = sum(array.nbytes for array in sample_feeds(session, task, shapes=shapes).values())
    return offline(call_of, sorted(set(sizes)) or offline_sizes(sample_bytes), budget, every=bool(sizes))


def stream(
    name: Literal["single-stream", "multi-stream"], call_of: CallOf, fixed: int | None, budget: Budget
) -> Scenario:
    """Measure queries of a client that waits for each answer.

    Args:
        name: Name of the scenario: single-stream or multi-stream.
        call_of: Function that prepares a call on a number of samples.
        fixed: Number of samples in every call, where the network takes no other number; a query may then take several
            calls, of which the last is padded.
        budget: Time budget; as many queries as the percentile needs are made, whatever time they take.
    """
    samples, percent = (1, 90) if name == "single-stream" else (MULTI_STREAM_SAMPLES, 99)
    batch = fixed or samples
    call, calls = call_of(batch), -(-samples // batch)

    def query() -> None:
        for _ in range(calls):
            call()

    least = max(budget.least, LEAST_CALLS[percent])
    budget = replace(budget, least=least, most=max(budget.most, least))
    times, warm_up = timed(timer(call if calls == 1 else query), budget)
    latency, interval = percentile(times, percent)
    return Scenario(
        name=name,
        query_samples=samples,
        batch=batch,
        queries=len(times),
        percentile=percent,
        latency_ms=latency,
        interval=interval,
        early_stopping_ms=early_stopping(times, percent),
        throughput_per_s=1e3 * samples * len(times) / float(times.sum()),
        warm_up=warm_up,
    )


def offline(call_of: CallOf, sizes: Sequence[int], budget: Budget, every: bool = False) -> Scenario:
    """Measure all samples at once, in batches of the size with the highest throughput.

    Args:
        call_of: Function that prepares a call on a number of samples.
        sizes: Batch sizes to try, in ascending order; at least one.
        budget: Time budget of each size.
        every: Whether to try all sizes, even where throughput no longer rises.
    """
    sweep: list[Latency] = []
    for size in sizes:
        times, spent = timed(timer(call_of(size)), budget)
        sweep.append(summary(times, size, spent))
        if not every and sweep.index(best(sweep)) < len(sweep) - _PATIENCE:
            break
    fastest = best(sweep)
    return Scenario(
        name="offline",
        query_samples=fastest.batch * fastest.iterations,
        batch=fastest.batch,
        queries=1,
        percentile=None,
        latency_ms=None,
        interval=None,
        early_stopping_ms=None,
        throughput_per_s=fastest.throughput_per_s,
        sweep=tuple(sweep),
        knee=knee(sweep),
    )


def offline_sizes(sample_bytes: int) -> list[int]:
    """Return the batch sizes that are tried where none are asked for.

    Args:
        sample_bytes: Size of the inputs of one sample, in bytes.
    """
    sizes = [2**power for power in range(_LARGEST_BATCH.bit_length())]
    return [size for size in sizes if size == 1 or size * sample_bytes <= _LARGEST_INPUT]


def best(sweep: Sequence[Latency]) -> Latency:
    """Return the batch size of the highest throughput, the first among equal ones."""
    return max(sweep, key=lambda latency: latency.throughput_per_s)


def knee(sweep: Sequence[Latency]) -> int:
    """Return the smallest batch size with a throughput close to the highest: larger ones cost latency and gain little.

    Args:
        sweep: Latency at each batch size, at least one.
    """
    enough = CLOSE * best(sweep).throughput_per_s
    return min(latency.batch for latency in sweep if latency.throughput_per_s >= enough)


def early_stopping(times: Times, percent: int) -> float | None:
    """Return LoadGen's estimate of a percentile, which the true one is below with 99 % confidence.

    Args:
        times: Latency of each query, ``(n,)``, in any unit.
        percent: 90 or 99.

    Returns:
        The estimate in the unit of ``times``; None with too few queries.
    """
    n = len(times)
    if not n:
        return None
    above: np.ndarray[Any, np.dtype[np.float64]] = binomial.at_most(binomial.pmf(n, 1 - percent / 100))
    discarded = int(np.count_nonzero(above < 1 - _CONFIDENCE)) - 1  # t with P(K <= t) below 1 %
    return None if discarded < 1 else float(np.sort(times)[n - discarded])
