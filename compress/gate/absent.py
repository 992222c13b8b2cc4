"""Builds for a board that is not here: their time is not measured on this machine as if it were that board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, judge_bounds

if TYPE_CHECKING:
    from compress.gate.subject import Subject
    from compress.records.profile import Profile

_TODO = "--host measures it there"


def absent_target(candidate: Subject, baseline: Subject) -> str | None:
    """Name of the target whose figures are estimates; None where both builds run on the machine that they are for.

    Args:
        candidate: One side.
        baseline: The other.
    """
    for side in (candidate, baseline):
        profile = side.profile
        if profile is not None and profile.latency and profile.latency[0].source == "estimated":
            return profile.target
    return None


def not_there(check: str, target: str) -> Check:
    """A check whose figures this machine cannot give.

    Args:
        check: Its name.
        target: The target that the builds are for.
    """
    return Check(check, Verdict.SKIPPED, f"not measured: {target} is not this machine; {_TODO}")


def judge_estimates(
    candidate: Profile | None, baseline: Profile | None, target: str, policy: GatePolicy
) -> Check:
    """Compare the estimated latencies of two builds, at every batch size that both were estimated at.

    An estimate decides only where its own interval does: the bounds of the ratio are the far ends of both intervals.

    Args:
        candidate: What was recorded of the candidate; None for a bare ONNX file.
        baseline: What was recorded of the baseline; None for a bare ONNX file.
        target: The target that the builds are for.
        policy: The margin.
    """
    if candidate is None or baseline is None:
        return not_there("latency", target)
    recorded = {each.batch: each for each in baseline.latency}
    pairs = [(now, recorded[now.batch]) for now in candidate.latency if now.batch in recorded]
    if not pairs or any(each.source != "estimated" for pair in pairs for each in pair):
        return not_there("latency", target)
    limit = 1 + policy.max_slowdown_percent / 100
    order = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
    verdict, told, batches = Verdict.PASS, [], {}
    for now, before in pairs:
        low, high = now.interval.low / before.interval.high, now.interval.high / before.interval.low
        ratio = now.p50_ms / before.p50_ms
        verdict = max(verdict, judge_bounds(low, high, limit), key=order.index)
        told.append(f"batch {now.batch}: {ratio:.3f}× ({low:.3f} to {high:.3f})")
        batches[str(now.batch)] = {"ratio": ratio, "low": low, "high": high}
    detail = (
        f"estimated for {target}, which is not this machine, and not measured: {', '.join(told)} "
        f"(margin {limit:g}); {_TODO}"
    )
    return Check("latency", verdict, detail, {"source": "estimated", "margin": limit, "batches": batches})
