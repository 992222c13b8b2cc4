"""Latency: interleaved pairs of calls in one process, or, with less to say, a recorded median.

Both builds meet the same disturbances in turn, so their ratio holds where milliseconds move by a factor of two. Not
all disturbances are shared, though: on a loaded machine a session whose thread was put beside another busy one stays
slow for tens to hundreds of milliseconds, while the other session does not. Such a spell is not in the bounds, which
take the pairs for independent. So calls that are over in microseconds are repeated until a pair has lasted long enough
to be one, and a verdict has to come out of several rounds, each with sessions of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, finite, judge_bounds
from compress.statistics.quantiles import median_log_ratio_bounds, quantile_interval

if TYPE_CHECKING:
    from compress.record import Latency

LogRatios = np.ndarray[Any, np.dtype[np.float64]]
Times = np.ndarray[Any, np.dtype[np.float64]]

#: MLPerf LoadGen's minimum of queries for a 99th percentile.
LEAST_FOR_P99 = 662

#: A verdict has to come out of this many rounds, out of at most so many, with a pause in seconds between them.
AGREEING, ROUNDS, PAUSE = 3, 5, 0.2

#: A pair that is over sooner is repeated, and the median of its log-ratios taken, until this many seconds are over.
LEAST_PAIR_S = 0.01


def long_pairs(take: Callable[[], float], count: int, least_s: float = LEAST_PAIR_S) -> LogRatios:
    """Log-ratios of pairs that last long enough not to repeat what the pair before told.

    Args:
        take: Times one pair of calls and gives its ln(candidate / baseline); the order flips each time.
        count: How many to give.
        least_s: How long each takes at least, in seconds.

    Returns:
        float64 ``(count,)``.
    """
    medians = np.empty(count)
    for number in range(count):
        end = time.perf_counter() + least_s
        ratios = [take()]
        while time.perf_counter() < end or (len(ratios) > 1 and len(ratios) % 2):
            ratios.append(take())  # an even number: both orders have the same weight
        medians[number] = np.median(ratios)
    return medians


def judge_rounds(measure: Callable[[], Check], pause_s: float = PAUSE) -> Check:
    """The verdict that most rounds give; inconclusive where no verdict has a majority.

    Args:
        measure: One round: :func:`judge_latency` on pairs of sessions that no other round has used.
        pause_s: Between two rounds, in seconds.
    """
    checks: list[Check] = []
    for number in range(ROUNDS):
        if number:
            time.sleep(pause_s)
        checks.append(measure())
        for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE):
            agreeing = [check for check in checks if check.verdict is verdict]
            if len(agreeing) == AGREEING:
                told = f"{agreeing[-1].detail}; {verdict} in {AGREEING} of {len(checks)} rounds"
                return replace(
                    agreeing[-1], detail=told, figures={**agreeing[-1].figures, "rounds": len(checks)}
                )
    told = f"{checks[-1].detail}; no verdict in {AGREEING} of {ROUNDS} rounds: this machine is busy, or they are close"
    return replace(checks[-1], verdict=Verdict.INCONCLUSIVE, detail=told)


def judge_latency(more_pairs: Callable[[int], LogRatios], policy: GatePolicy) -> Check:
    """Sequential test of the median latency ratio, exact at every look.

    Args:
        more_pairs: Gives this many further values of ln(candidate / baseline), one per interleaved pair.
        policy: The margin and the looks.
    """
    limit = 1 + policy.max_slowdown_percent / 100
    ratios: LogRatios = np.empty(0)
    for look in policy.looks:
        ratios = np.concatenate([ratios, more_pairs(look - len(ratios))])
        bounds = median_log_ratio_bounds(ratios, policy.alpha / len(policy.looks))
        ratio, low, high = (_exp(value) for value in (float(np.median(ratios)), *bounds))
        told = (
            f"median ratio {ratio:.3f}, between {low:.3f} and {high:.3f} "
            f"(margin {limit:g}, {len(ratios)} interleaved pairs)"
        )
        figures = {
            "ratio": ratio,
            "low": low,
            "high": finite(high),
            "margin": limit,
            "pairs": len(ratios),
        }
        verdict = judge_bounds(low, high, limit)
        if verdict is not Verdict.INCONCLUSIVE:
            return Check("latency", verdict, told, figures)
    needed = _pairs_needed(len(ratios), ratio, low, high, limit)
    more = f"about {needed} pairs would decide" if needed else "the ratio lies on the margin"
    return Check("latency", Verdict.INCONCLUSIVE, f"{told}; {more}", {**figures, "pairs_to_decide": needed})


def judge_p99(candidate: Times, baseline: Times, policy: GatePolicy) -> Check:
    """The ratio of the 99th percentiles, bounded by the exact interval of each.

    Args:
        candidate: Milliseconds of its calls.
        baseline: Milliseconds of its calls, interleaved with the candidate's.
        policy: The margin and the error, half of which goes to each percentile.
    """
    if min(len(candidate), len(baseline)) < LEAST_FOR_P99:
        return Check("p99", Verdict.SKIPPED, f"{len(candidate)} pairs, and p99 needs {LEAST_FOR_P99}")
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

    They cannot be paired, so the bounds of their ratio are the far ends of both intervals, and a drift of the
    machine between the two counts as a difference.

    Args:
        now: Of the candidate.
        recorded: Of the baseline, at the same batch size.
        policy: The margin and the error.
    """
    limit = 1 + policy.max_slowdown_percent / 100
    ends = (now.interval.low, now.interval.high, recorded.interval.low, recorded.interval.high)
    if not all(math.isfinite(end) and end > 0 for end in ends):
        return Check("latency", Verdict.INCONCLUSIVE, "too few calls bound one of the two medians")
    level = min(now.interval.level, recorded.interval.level)
    ratio = now.p50_ms / recorded.p50_ms
    low, high = now.interval.low / recorded.interval.high, now.interval.high / recorded.interval.low
    told = (
        f"median ratio {ratio:.3f}, between {low:.3f} and {high:.3f} (margin {limit:g}, against a recorded "
        f"{recorded.p50_ms:.3g} ms, not paired)"
    )
    figures = {"ratio": ratio, "low": low, "high": high, "margin": limit, "paired": False}
    # Each end errs with (1 - level) / 2, a ratio of two of them with twice that.
    if policy.alpha < 1 - level - 1e-9:
        told += f"; its interval errs with more than {policy.alpha:g}"
        return Check("latency", Verdict.INCONCLUSIVE, told, figures)
    return Check("latency", judge_bounds(low, high, limit), told, figures)


def _pairs_needed(pairs: int, ratio: float, low: float, high: float, limit: float) -> int | None:
    """The bounds close in with the root of the number of pairs."""
    if low <= 0 or not math.isfinite(high) or ratio == limit:
        return None
    reach = math.log(high / ratio) if ratio < limit else math.log(ratio / low)
    return max(pairs + 1, math.ceil(pairs * (reach / math.log(limit / ratio)) ** 2))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
