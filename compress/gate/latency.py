"""Latency: interleaved pairs of calls in one process, or, with less to say, a recorded median.

Both builds meet the same disturbances in turn, so their ratio holds where milliseconds move by a factor of two. Not
all disturbances are shared, though: where its memory lies and where its threads run makes a session a few percent
faster or slower for as long as it lives. Neighbouring pairs tell that again and again, and are not independent. So what
is counted are rounds, each with sessions of its own, in the other order of opening and with threads bound to the same
processors (:mod:`compress.profiling.pinning`): the median of a round's pairs is one observation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, finite, judge_bounds
from compress.profiling.latency import LEAST_CALLS
from compress.statistics.quantiles import median_log_ratio_bounds, quantile_interval

if TYPE_CHECKING:
    from compress.record import Latency

Times = np.ndarray[Any, np.dtype[np.float64]]

#: A round takes pairs for so many seconds, and so many pairs at the least.
ROUND_S, LEAST_PAIRS = 0.25, 6


def take_round(take: Callable[[], None], seconds: float = ROUND_S, least: int = LEAST_PAIRS) -> None:
    """One round's pairs: an even number of them, so that both orders of calling have the same weight.

    Args:
        take: Times one pair of calls; the order flips each time.
        seconds: For how long at the least.
        least: How many at the least.
    """
    end = time.perf_counter() + seconds
    taken = 0
    while taken < least or taken % 2 or time.perf_counter() < end:
        take()
        taken += 1


def judge_latency(measure_round: Callable[[int], float], policy: GatePolicy) -> Check:
    """Sequential test of the median latency ratio over rounds, with exact bounds at every look.

    Args:
        measure_round: Gives the median of ln(candidate / baseline) over the interleaved pairs of one round, by the
            round's number from 0, on sessions that no other round has used.
        policy: The margin and the looks.
    """
    limit = 1 + policy.max_slowdown_percent / 100
    rounds: list[float] = []
    for look in policy.looks:
        rounds += [measure_round(number) for number in range(len(rounds), look)]
        bounds = median_log_ratio_bounds(rounds, policy.alpha / len(policy.looks))
        ratio, low, high = (_exp(value) for value in (float(np.median(rounds)), *bounds))
        told = (
            f"median ratio {ratio:.3f}, between {low:.3f} and {high:.3f} "
            f"(margin {limit:g}, {len(rounds)} rounds of interleaved pairs)"
        )
        figures = {
            "ratio": ratio,
            "low": low,
            "high": finite(high),
            "margin": limit,
            "rounds": len(rounds),
        }
        verdict = judge_bounds(low, high, limit)
        if verdict is not Verdict.INCONCLUSIVE:
            return Check("latency", verdict, told, figures)
    needed = _rounds_needed(len(rounds), ratio, low, high, limit)
    more = f"about {needed} rounds would decide" if needed else "the ratio lies on the margin"
    return Check("latency", Verdict.INCONCLUSIVE, f"{told}; {more}", {**figures, "rounds_to_decide": needed})


def judge_p99(candidate: Times, baseline: Times, policy: GatePolicy) -> Check:
    """The ratio of the 99th percentiles, bounded by the interval of each.

    Args:
        candidate: Milliseconds of its calls.
        baseline: Milliseconds of its calls, interleaved with the candidate's.
        policy: The margin and the error, half of which goes to each percentile.
    """
    if min(len(candidate), len(baseline)) < LEAST_CALLS[99]:
        return Check("p99", Verdict.SKIPPED, f"{len(candidate)} pairs, and p99 needs {LEAST_CALLS[99]}")
    # One-sided bounds at alpha / 2 for each of the two: an interval of level 1 - alpha.
    ours = quantile_interval(candidate, 0.99, 1 - policy.alpha)
    theirs = quantile_interval(baseline, 0.99, 1 - policy.alpha)
    if ours is None or theirs is None:
        told = f"{len(candidate)} pairs bound no p99 at an error of {policy.alpha:g}"
        return Check("p99", Verdict.INCONCLUSIVE, told)
    limit = 1 + policy.max_p99_slowdown_percent / 100
    ratio = float(np.quantile(candidate, 0.99) / np.quantile(baseline, 0.99))
    low, high = ours.lower / theirs.upper, ours.upper / theirs.lower
    told = (
        f"p99 ratio {ratio:.3f}, between {low:.3f} and {high:.3f} (margin {limit:g}, {len(candidate)} pairs)"
    )
    figures = {"ratio": ratio, "low": low, "high": high, "margin": limit, "pairs": len(candidate)}
    return Check("p99", judge_bounds(low, high, limit), told, figures)


def judge_recorded_latency(now: Latency, recorded: Latency, policy: GatePolicy) -> Check:
    """A median measured now against one that was recorded on the same machine.

    They cannot be paired, so the bounds of their ratio are the far ends of both intervals, and the machine may have
    become slower or faster between the two. The same file, recorded and gated within ten seconds on a shared virtual
    machine, took 1.18 times its time; under load, medians there moved by half and more. Neither a fail nor a pass may
    rest on that, so both bounds are widened by ``policy.max_drift_percent``. What decides more is a baseline that runs.

    Args:
        now: Of the candidate.
        recorded: Of the baseline, at the same batch size.
        policy: The margin, the error, and how far this machine drifts.
    """
    limit, drift = 1 + policy.max_slowdown_percent / 100, 1 + policy.max_drift_percent / 100
    ends = (now.interval.low, now.interval.high, recorded.interval.low, recorded.interval.high)
    if not all(math.isfinite(end) and end > 0 for end in ends):
        return Check("latency", Verdict.INCONCLUSIVE, "too few calls bound one of the two medians")
    level = min(now.interval.level, recorded.interval.level)
    ratio = now.p50_ms / recorded.p50_ms
    low = now.interval.low / recorded.interval.high / drift
    high = now.interval.high / recorded.interval.low * drift
    told = (
        f"median ratio {ratio:.3f}, between {low:.3f} and {high:.3f} (margin {limit:g}, against a recorded "
        f"{recorded.p50_ms:.3g} ms, not paired, with {policy.max_drift_percent:g} % for the machine's drift)"
    )
    figures = {"ratio": ratio, "low": low, "high": high, "margin": limit, "drift": drift, "paired": False}
    # Each end errs with (1 - level) / 2, a ratio of two of them with twice that.
    if policy.alpha < 1 - level - 1e-9:
        told += f"; its interval errs with more than {policy.alpha:g}"
        return Check("latency", Verdict.INCONCLUSIVE, told, figures)
    verdict = judge_bounds(low, high, limit)
    if verdict is Verdict.INCONCLUSIVE:
        told += "; give the bundle or ONNX file as the baseline, and both are timed in pairs"
    return Check("latency", verdict, told, figures)


def _rounds_needed(rounds: int, ratio: float, low: float, high: float, limit: float) -> int | None:
    """The bounds close in with the root of the number of rounds."""
    if low <= 0 or not math.isfinite(high) or ratio == limit:
        return None
    reach = math.log(high / ratio) if ratio < limit else math.log(ratio / low)
    return max(rounds + 1, math.ceil(rounds * (reach / math.log(limit / ratio)) ** 2))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
