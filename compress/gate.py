"""The gate: does a candidate regress against a baseline? Pass, fail, or inconclusive when the data cannot tell.

Accuracy is paired by sample, latency by interleaved calls in one process; both are decided by bounds and never by a
point estimate, which waves through half of all true losses that equal the margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import BundleError, UsageError
from compress.statistics.paired import mcnemar_exact, samples_to_decide
from compress.statistics.quantiles import median_log_ratio_bounds

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.bundle import Bundle
    from compress.record import Drop
    from compress.task import Task

LogRatios = np.ndarray[Any, np.dtype[np.float64]]


class Verdict(StrEnum):
    """What a check says."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class GatePolicy:
    """The margins a candidate is held to.

    Attributes:
        max_drop: Accuracy drop allowed, in points.
        max_slowdown: Rise of the median latency allowed, in percent.
        alpha: One-sided error of each check, in (0, 0.5).
        looks: Numbers of pairs after which latency is judged; ``alpha`` is split evenly across them.
    """

    max_drop: float = 1.0
    max_slowdown: float = 2.0
    alpha: float = 0.05
    looks: tuple[int, ...] = (50, 100, 200, 400)

    def __post_init__(self) -> None:
        for name in ("max_drop", "max_slowdown"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"a {name} of 0 or more", str(getattr(self, name)), "correct the margin")


@dataclass(frozen=True)
class Check:
    """One check of a gate.

    Attributes:
        name: "accuracy" or "latency".
        verdict: What it says.
        detail: One sentence with the figures it rests on.
    """

    name: str
    verdict: Verdict
    detail: str

    def to_dict(self) -> dict[str, str]:
        """As JSON holds it."""
        return {"name": self.name, "verdict": str(self.verdict), "detail": self.detail}


def overall(checks: Sequence[Check]) -> Verdict:
    """Fail if any check fails, pass only if all pass; no check at all is inconclusive."""
    verdicts = {check.verdict for check in checks}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def judge_drop(drop: Drop, samples: int, lost: int, won: int, policy: GatePolicy) -> Check:
    """Non-inferiority of accuracy.

    Args:
        drop: Against the baseline, with bounds at ``policy.alpha`` on each side.
        samples: How many it rests on.
        lost: Samples the baseline got right and the candidate wrong.
        won: The reverse.
        policy: The margin.
    """
    told = (
        f"drop {drop.points:+.2f} points, between {drop.interval.low:+.2f} and {drop.interval.high:+.2f} "
        f"(margin {policy.max_drop:g}, {samples} samples, {100 * drop.churn:.2f} % changed, "
        f"McNemar p = {mcnemar_exact(lost, won):.3g})"
    )
    if drop.interval.high <= policy.max_drop:
        return Check("accuracy", Verdict.PASS, told)
    if drop.interval.low > policy.max_drop:
        return Check("accuracy", Verdict.FAIL, told)
    room = abs(policy.max_drop - drop.points) / 100
    needed = samples_to_decide(drop.churn, room, policy.alpha) if room > 0 and drop.churn > 0 else None
    more = f"; about {needed} samples would decide" if needed else "; the drop lies on the margin"
    return Check("accuracy", Verdict.INCONCLUSIVE, told + more)


def judge_latency(more_pairs: Callable[[int], LogRatios], policy: GatePolicy) -> Check:
    """Sequential test of the median latency ratio, exact at every look.

    Args:
        more_pairs: Gives this many further values of ln(candidate / baseline), one per interleaved pair.
        policy: The margin and the looks.
    """
    margin = math.log1p(policy.max_slowdown / 100)
    ratios: LogRatios = np.empty(0)
    for look in policy.looks:
        ratios = np.concatenate([ratios, more_pairs(look - len(ratios))])
        low, high = median_log_ratio_bounds(ratios, policy.alpha / len(policy.looks))
        told = (
            f"median ratio {math.exp(float(np.median(ratios))):.3f}, between {math.exp(low):.3f} and "
            f"{math.exp(high):.3f} (margin {1 + policy.max_slowdown / 100:g}, {len(ratios)} interleaved pairs)"
        )
        if low > margin:
            return Check("latency", Verdict.FAIL, told)
        if high < margin:
            return Check("latency", Verdict.PASS, told)
    return Check("latency", Verdict.INCONCLUSIVE, told + "; a quieter machine would decide")


def gate(
    candidate: Bundle, baseline: Bundle, *, task: Task | None = None, policy: GatePolicy | None = None
) -> list[Check]:
    """Hold a bundle against another.

    Args:
        candidate: What may be merged.
        baseline: What it must not fall behind.
        task: Evaluation data, run through both; None compares the outcomes that the two bundles recorded.
        policy: The margins.

    Returns:
        The checks: accuracy, then latency.

    Raises:
        BundleError: The two take different inputs, or recorded outcomes of different data or metrics.
        UnavailableError: A back end is not installed here.
    """
    policy = policy or GatePolicy()
    if [spec.to_dict() for spec in candidate.inputs] != [spec.to_dict() for spec in baseline.inputs]:
        raise BundleError(
            f"a baseline with inputs {'; '.join(map(str, candidate.inputs))}",
            "; ".join(map(str, baseline.inputs)),
            "compare builds of the same network",
        )
    with candidate.open() as ours, baseline.open() as theirs:
        from compress.profiling.latency import Pairs, sample_feeds

        if task is not None:
            task = task.bind(ours.inputs, ours.outputs)
        accuracy = _accuracy(candidate, baseline, ours, theirs, task, policy)
        pairs = Pairs(ours, theirs, sample_feeds(ours, task))

        def more_pairs(count: int) -> LogRatios:
            for _ in range(count):
                pairs.take()
            return np.array(pairs.log_ratios[-count:])

        return [accuracy, judge_latency(more_pairs, policy)]


def _accuracy(
    candidate: Bundle,
    baseline: Bundle,
    ours: Session,
    theirs: Session,
    task: Task | None,
    policy: GatePolicy,
) -> Check:
    from compress.metrics import load_metric
    from compress.profiling.accuracy import drop_of, outcomes_of

    if task is not None:
        outcomes, reference = outcomes_of(ours, task, theirs), outcomes_of(theirs, task)
        metric = task.metric
    else:
        recorded, wanted = candidate.profile.accuracy, baseline.profile.accuracy
        if recorded is None or wanted is None:
            raise BundleError("recorded accuracy in both bundles", "none in one of them", "give --data")
        if (recorded.data_sha256, recorded.metric) != (wanted.data_sha256, wanted.metric):
            raise BundleError(
                f"a baseline recorded with {recorded.metric} on data {recorded.data_sha256[:12]}…",
                f"{wanted.metric} on {wanted.data_sha256[:12]}…",
                "give --data, so that both are run on it",
            )
        outcomes = np.array(candidate.profile.outcomes)
        reference = np.array(baseline.profile.outcomes)
        metric = load_metric(recorded.metric)
    better = (outcomes > reference) == metric.higher_is_better
    changed = outcomes != reference
    lost, won = int((changed & ~better).sum()), int((changed & better).sum())
    return judge_drop(drop_of(outcomes, reference, metric), len(outcomes), lost, won, policy)
