"""Accuracy, paired by sample: is the candidate worse by more than the margin, and how much changed at all?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, finite, judge_bounds
from compress.records.profile import LEAST_SAMPLES
from compress.statistics.paired import mcnemar_exact, samples_to_decide
from compress.statistics.proportions import wilson

if TYPE_CHECKING:
    from compress.gate.outcomes import Paired
    from compress.metrics import Metric
    from compress.records.profile import Drop

Outcomes = np.ndarray[Any, np.dtype[np.float64]]


def judge_outputs(paired: Sequence[Paired], policy: GatePolicy) -> Check:
    """Check non-inferiority by every metric: each has to pass, so each may use the whole error.

    Args:
        paired: The outcomes of each metric, at least one.
        policy: Margin and error probability.
    """
    checks = [judge_accuracy(*pair, policy) for pair in paired]
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)

    def badness(check: Check) -> tuple[int, float]:
        high = check.figures.get("high_points")
        return -order.index(check.verdict), math.inf if high is None else float(str(high))

    worst = max(range(len(checks)), key=lambda position: badness(checks[position]))
    check, metric = checks[worst], paired[worst].metric
    if len(checks) == 1:
        return check
    detail = f"output '{', '.join(metric.outputs)}', the worst of {len(checks)}: {check.detail}"
    outputs = {
        ", ".join(pair.metric.outputs) or pair.metric.name: {
            "verdict": str(check_of_pair.verdict),
            "drop_points": check_of_pair.figures.get("drop_points"),
            "high_points": check_of_pair.figures.get("high_points"),
        }
        for pair, check_of_pair in zip(paired, checks, strict=True)
    }
    return replace(check, detail=detail, figures={**check.figures, "outputs": outputs})


def judge_accuracy(outcomes: Outcomes, reference: Outcomes, metric: Metric, policy: GatePolicy) -> Check:
    """Check non-inferiority of the candidate's outcomes.

    Args:
        outcomes: Outcomes of the candidate, float64 ``(n,)``, at least one.
        reference: Outcomes of the baseline on the same samples, float64 ``(n,)``.
        metric: Metric of these outcomes.
        policy: Margin and error probability.
    """
    from compress.profiling.accuracy import decidable, drop_of

    if not decidable(metric, len(outcomes)):
        detail = f"{len(outcomes)} samples, and {metric.name} is decided on {LEAST_SAMPLES} or more"
        return Check("accuracy", Verdict.INCONCLUSIVE, detail, {"samples": len(outcomes)})
    better = (outcomes > reference) == metric.higher_is_better
    changed = outcomes != reference
    lost, won = int((changed & ~better).sum()), int((changed & better).sum())
    drop = drop_of(outcomes, reference, metric, policy.alpha)
    check = judge_drop(drop, len(outcomes), lost, won, policy)
    if not math.isfinite(drop.points) or (not reference.mean() and not metric.right_or_wrong):
        detail = f"{check.detail}; the baseline's {metric.name} is 0, of which no margin is a share"
        check = replace(check, detail=f"{detail}: take a metric that is counted otherwise")
    if metric.needs == "labels":
        return check
    return replace(check, detail=f"without labels, of its own scores the baseline loses: {check.detail}")


def judge_drop(drop: Drop, samples: int, lost: int, won: int, policy: GatePolicy) -> Check:
    """Check non-inferiority of accuracy by its drop.

    Args:
        drop: Accuracy drop against the baseline, with bounds at ``policy.alpha`` on each side.
        samples: Number of samples that it rests on.
        lost: Number of samples on which the candidate is worse than the baseline.
        won: Number of samples on which the candidate is better.
        policy: Policy with the margin.
    """
    margin, p = policy.max_drop_points, mcnemar_exact(lost, won)
    detail = (
        f"drop {drop.points:+.2f} {drop.unit}, between {drop.interval.low:+.2f} and {drop.interval.high:+.2f} "
        f"(margin {margin:g}, {samples} samples, {100 * drop.churn:.2f} % changed, McNemar p = {p:.3g})"
    )
    figures = {
        "drop_points": finite(drop.points),
        "low_points": finite(drop.interval.low),
        "high_points": finite(drop.interval.high),
        "margin_points": margin,
        "samples": samples,
        "lost": lost,
        "won": won,
        "mcnemar_p": p,
    }
    verdict = judge_bounds(drop.interval.low, drop.interval.high, margin)
    if verdict is Verdict.INCONCLUSIVE:
        needed = samples_needed(drop, samples, margin, policy.alpha)
        detail += f"; about {needed} samples would decide" if needed else "; the drop lies on the margin"
        figures["samples_to_decide"] = needed
    return Check("accuracy", verdict, detail, figures)


def judge_churn(outcomes: Outcomes, reference: Outcomes, policy: GatePolicy) -> Check:
    """Check the share of samples whose outcome changed in either direction, with Wilson's bounds.

    Compressed networks trade some samples for others while top-1 hardly moves (Hooker et al., 'What do
    compressed deep neural networks forget?', 2019).

    Args:
        outcomes: Outcomes of the candidate, float64 ``(n,)``, at least one, each 0 or 1.
        reference: Outcomes of the baseline, float64 ``(n,)``, each 0 or 1.
        policy: Margin and error probability.
    """
    changed = int((outcomes != reference).sum())
    low, high = (100 * bound for bound in wilson(changed, len(outcomes), 1 - 2 * policy.alpha))
    margin = policy.max_churn_percent
    detail = (
        f"{100 * changed / len(outcomes):.2f} % of {len(outcomes)} samples changed, between {low:.2f} and "
        f"{high:.2f} (margin {margin:g})"
    )
    figures = {
        "changed_percent": 100 * changed / len(outcomes),
        "low_percent": low,
        "high_percent": high,
        "margin_percent": margin,
        "samples": len(outcomes),
    }
    return Check("churn", judge_bounds(low, high, margin), detail, figures)


def samples_needed(drop: Drop, samples: int, margin: float, alpha: float = 0.05) -> int | None:
    """Return the number of samples that would decide if drop and churn stayed the same.

    Args:
        drop: Accuracy drop, with bounds at ``alpha`` on each side.
        samples: Number of samples that it rests on.
        margin: Drop that is allowed, in the unit of ``drop``.
        alpha: Error probability of each bound.

    Returns:
        The number; None where the drop lies on the margin.
    """
    room = abs(margin - drop.points)
    if not (room > 0 and math.isfinite(room)):
        return None
    if room < 100 and drop.churn < 1:
        return max(samples + 1, samples_to_decide(drop.churn, room / 100, alpha))
    reach = (drop.interval.high - drop.interval.low) / 2
    return max(samples + 1, math.ceil(samples * (reach / room) ** 2)) if math.isfinite(reach) else None
