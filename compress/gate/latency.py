"""Latency: both builds in turns, each in a process of its own; or, with less to say, a recorded median.

Both builds meet the same disturbances in turn, so their ratio holds where milliseconds move by a factor of two. Not
all disturbances are shared, though: where its memory lies and where its threads run makes a process a few percent
faster or slower for as long as it lives. Neighbouring bursts tell that again and again, and are not independent. So
what is counted are rounds, each of which starts both anew (:mod:`compress.timing`): its median ratio is one
observation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, finite, judge_bounds
from compress.profiling.latency import LEAST_CALLS
from compress.statistics.quantiles import median_log_ratio_bounds, quantile_interval

if TYPE_CHECKING:
    from compress.records.profile import Latency

Times = np.ndarray[Any, np.dtype[np.float64]]

#: Rounds after which a comparison may be given up: one that would need so many times the last look's rounds to be
#: decided, and whose bounds would be so many margins wide at the last look.
_HOPELESS_AFTER, _HOPELESS, _HOPELESS_WIDTH = 16, 8, 2.0


def judge_latency(measure_round: Callable[[int], Mapping[int, float]], policy: GatePolicy) -> Check:
    """Test the median latency ratio at every batch size sequentially over rounds, with exact bounds at every look.

    The check passes where no batch size can be slower than the margin, and fails where one is.

    Args:
        measure_round: Function from the round's number, from 0, to the round's ln(candidate / baseline) by batch size,
            measured in processes that no other round has used.
        policy: Margin, and the numbers of rounds after which to judge.
    """
    limit = 1 + policy.max_slowdown_percent / 100
    rounds: list[Mapping[int, float]] = []
    for look in policy.looks:
        rounds += [measure_round(number) for number in range(len(rounds), look)]
        judged = {
            batch: _judged([ratios[batch] for ratios in rounds], len(rounds[0]), policy)
            for batch in rounds[0]
        }
        verdicts = {
            judge_bounds(judged_batch.low, judged_batch.high, limit) for judged_batch in judged.values()
        }
        if Verdict.FAIL in verdicts or verdicts == {Verdict.PASS}:
            verdict = Verdict.FAIL if Verdict.FAIL in verdicts else Verdict.PASS
            return Check(
                "latency", verdict, _told(judged, limit, len(rounds)), _figures(judged, limit, len(rounds))
            )
        needs = [
            _rounds_needed(len(rounds), judged_batch, limit)
            for judged_batch in judged.values()
            if judged_batch.high > limit
        ]
        needed = None if None in needs else max(need for need in needs if need is not None)
        if (needed or 0) > _HOPELESS * policy.looks[-1] and _too_noisy(judged, limit, len(rounds), policy):
            break  # more rounds would only take time; giving up decides nothing, so no error grows by it
    more = f"about {needed} rounds would decide" if needed else "the ratio lies on the margin"
    figures = {**_figures(judged, limit, len(rounds)), "rounds_to_decide": needed}
    summary = _told(judged, limit, len(rounds))
    return Check("latency", Verdict.INCONCLUSIVE, f"{summary}; {more}", figures)


class _Judged(NamedTuple):
    """The median ratio at one batch size, and its bounds."""

    ratio: float
    low: float
    high: float


def _judged(log_ratios: list[float], batches: int, policy: GatePolicy) -> _Judged:
    """Judge all batch sizes: a pass needs every size, a fail any, so only the error of failing is shared."""
    alpha = policy.alpha / len(policy.looks)
    low = median_log_ratio_bounds(log_ratios, alpha / batches).lower
    high = median_log_ratio_bounds(log_ratios, alpha).upper
    return _Judged(*(_exp(value) for value in (float(np.median(log_ratios)), low, high)))


def _told(judged: Mapping[int, _Judged], limit: float, rounds: int) -> str:
    parts = [
        f"batch {batch}: median ratio {judged_batch.ratio:.3f}, {_bounds(judged_batch)}"
        for batch, judged_batch in judged.items()
    ]
    return f"{'; '.join(parts)} (margin {limit:g}, {rounds} rounds of both in turns, started anew for each)"


def _bounds(judged: _Judged) -> str:
    """Describe the bounds; few rounds, at an error shared among batch sizes, have no lower bound."""
    if judged.low == 0:
        return f"at most {judged.high:.3f}"
    return f"between {judged.low:.3f} and {judged.high:.3f}"


def _figures(judged: Mapping[int, _Judged], limit: float, rounds: int) -> dict[str, object]:
    """Return the figures of the batch size closest to the margin or furthest beyond it, then of each size."""
    worst = max(judged.values(), key=lambda judged_batch: judged_batch.high)
    by_batch = {
        str(batch): {"ratio": judged_batch.ratio, "low": judged_batch.low, "high": finite(judged_batch.high)}
        for batch, judged_batch in judged.items()
    }
    return {
        "ratio": worst.ratio,
        "low": worst.low,
        "high": finite(worst.high),
        "margin": limit,
        "rounds": rounds,
        "batches": by_batch,
    }


def judge_p99(candidate: Times, baseline: Times, policy: GatePolicy) -> Check:
    """Check the ratio of the 99th percentiles, bounded by the interval of each.

    Args:
        candidate: Times of the candidate's calls, in milliseconds.
        baseline: Times of the baseline's calls, in milliseconds, interleaved with the candidate's.
        policy: Margin, and the error, half of which goes to each percentile.
    """
    if min(len(candidate), len(baseline)) < LEAST_CALLS[99]:
        return Check("p99", Verdict.SKIPPED, f"{len(candidate)} pairs, and p99 needs {LEAST_CALLS[99]}")
    # One-sided bounds at alpha / 2 for each of the two: an interval of level 1 - alpha.
    ours = quantile_interval(candidate, 0.99, 1 - policy.alpha)
    theirs = quantile_interval(baseline, 0.99, 1 - policy.alpha)
    if ours is None or theirs is None:
        detail = f"{len(candidate)} pairs bound no p99 at an error of {policy.alpha:g}"
        return Check("p99", Verdict.INCONCLUSIVE, detail)
    limit = 1 + policy.max_p99_slowdown_percent / 100
    ratio = float(np.quantile(candidate, 0.99) / np.quantile(baseline, 0.99))
    low, high = ours.lower / theirs.upper, ours.upper / theirs.lower
    detail = (
        f"p99 ratio {ratio:.3f}, between {low:.3f} and {high:.3f} (margin {limit:g}, {len(candidate)} pairs)"
    )
    figures = {"ratio": ratio, "low": low, "high": high, "margin": limit, "pairs": len(candidate)}
    return Check("p99", judge_bounds(low, high, limit), detail, figures)


def judge_recorded_latencies(pairs: Sequence[tuple[Latency, Latency]], policy: GatePolicy) -> Check:
    """Judge latencies against recorded ones at every batch size by :func:`judge_recorded_latency`; each has to pass.

    Args:
        pairs: Pairs of the latency measured now and the recorded one, for each batch size, in milliseconds; at least
            one.
        policy: Margin, error probability, and drift of this machine.
    """
    checks = [judge_recorded_latency(*pair, policy) for pair in pairs]
    if len(checks) == 1:
        return checks[0]
    order = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
    worst = max(checks, key=lambda check: order.index(check.verdict))
    batches = {str(now.batch): dict(check.figures) for (now, _), check in zip(pairs, checks, strict=True)}
    details = [f"batch {now.batch}: {check.detail}" for (now, _), check in zip(pairs, checks, strict=True)]
    return Check("latency", worst.verdict, "; ".join(details), {**worst.figures, "batches": batches})


def judge_recorded_latency(now: Latency, recorded: Latency, policy: GatePolicy) -> Check:
    """Check a median measured now against one recorded on the same machine.

    They cannot be paired, so the bounds of their ratio are the far ends of both intervals, and the machine may have
    become slower or faster between the two. The same file, recorded and gated within ten seconds on a shared virtual
    machine, took 1.18 times its time; under load, medians there moved by half and more. Neither a fail nor a pass may
    rest on that, so both bounds are widened by ``policy.max_drift_percent``. A baseline that can be run decides more.

    Args:
        now: Latency of the candidate.
        recorded: Latency of the baseline, at the same batch size.
        policy: Margin, error probability, and drift of this machine.
    """
    limit, drift = 1 + policy.max_slowdown_percent / 100, 1 + policy.max_drift_percent / 100
    ends = (now.interval.low, now.interval.high, recorded.interval.low, recorded.interval.high)
    if not all(math.isfinite(end) and end > 0 for end in ends):
        return Check("latency", Verdict.INCONCLUSIVE, "too few calls bound one of the two medians")
    level = min(now.interval.level, recorded.interval.level)
    ratio = now.p50_ms / recorded.p50_ms
    low = now.interval.low / recorded.interval.high / drift
    high = now.interval.high / recorded.interval.low * drift
    detail = (
        f"median ratio {ratio:.3f}, between {low:.3f} and {high:.3f} (margin {limit:g}, against a recorded "
        f"{recorded.p50_ms:.3g} ms, not paired, with {policy.max_drift_percent:g} % for the machine's drift)"
    )
    figures = {"ratio": ratio, "low": low, "high": high, "margin": limit, "drift": drift, "paired": False}
    # Each end errs with (1 - level) / 2, a ratio of two of them with twice that.
    if policy.alpha < 1 - level - 1e-9:
        detail += f"; its interval errs with more than {policy.alpha:g}"
        return Check("latency", Verdict.INCONCLUSIVE, detail, figures)
    verdict = judge_bounds(low, high, limit)
    if verdict is Verdict.INCONCLUSIVE:
        detail += "; give the bundle or ONNX file as the baseline, and both are timed in pairs"
    return Check("latency", verdict, detail, figures)


def _too_noisy(judged: Mapping[int, _Judged], limit: float, rounds: int, policy: GatePolicy) -> bool:
    """Whether the bounds of an undecided ratio would still be wide at the last look."""
    if rounds < _HOPELESS_AFTER:
        return False
    reach = max(
        math.log(judged_batch.high / judged_batch.ratio)
        for judged_batch in judged.values()
        if judged_batch.high > limit
    )
    return reach * math.sqrt(rounds / policy.looks[-1]) > _HOPELESS_WIDTH * math.log(limit)


def _rounds_needed(rounds: int, judged: _Judged, limit: float) -> int | None:
    """Estimate the rounds needed: the bounds narrow with the root of the number of rounds."""
    ratio, low, high = judged
    if low <= 0 or not math.isfinite(high) or ratio == limit:
        return None
    reach = math.log(high / ratio) if ratio < limit else math.log(ratio / low)
    return max(rounds + 1, math.ceil(rounds * (reach / math.log(limit / ratio)) ** 2))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
