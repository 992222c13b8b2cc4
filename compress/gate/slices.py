"""Accuracy in every slice of the data: a class or group that collapses hardly moves the mean.

A slice fails where its drop is beyond the margin, with the error shared among all slices, so that many of them
raise no more false alarms than one. Holm's procedure ('A simple sequentially rejective multiple test procedure',
Scandinavian Journal of Statistics 6, 1979) shares it among the slices not yet failed, Bonferroni's among all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.gate.accuracy import LEAST_FOR_RESAMPLING, Outcomes
from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict

if TYPE_CHECKING:
    from compress.metrics import Metric

Groups = np.ndarray[Any, np.dtype[Any]]

_NAMED = 5


@dataclass(frozen=True, eq=False)
class _Slice:
    name: str
    outcomes: Outcomes
    reference: Outcomes
    metric: Metric

    def bounds(self, alpha: float) -> tuple[float, float]:
        """Of the drop, in points, each erring with ``alpha``."""
        from compress.profiling.accuracy import drop_of

        drop = drop_of(self.outcomes, self.reference, self.metric, alpha)
        return drop.interval.low, drop.interval.high


def judge_slices(
    outcomes: Outcomes,
    reference: Outcomes,
    metric: Metric,
    groups: Groups,
    policy: GatePolicy,
    names: Sequence[str] | None = None,
) -> Check:
    """Non-inferiority in each group.

    Args:
        outcomes: float64 ``(n,)`` of the candidate, at least one.
        reference: float64 ``(n,)`` of the baseline on the same samples.
        metric: Which metric they are of.
        groups: ``(n,)`` integers or texts: the slice of each sample.
        policy: The margin, the error, and what an undecided slice means.
        names: Of the slices, where ``groups`` counts them from 0.
    """
    from compress.profiling.accuracy import drop_of

    slices = _slices(outcomes, reference, metric, groups, names)
    margin = policy.max_slice_drop_points
    failed = _failed(slices, policy)
    rows, undecided = [], []
    for each in slices:
        drop = drop_of(each.outcomes, each.reference, metric, policy.alpha)
        # Every slice has to pass, so each may be bounded at the whole error (intersection-union test).
        small = not metric.right_or_wrong and len(each.outcomes) < LEAST_FOR_RESAMPLING
        passed = drop.interval.high <= margin and not small
        verdict = "fail" if each.name in failed else "pass" if passed else "undecided"
        if verdict == "undecided":
            undecided.append(each.name)
        rows.append((each.name, drop.points, len(each.outcomes), verdict))
    name, points, samples, _ = max(rows, key=lambda row: (row[3] == "fail", row[1]))
    told = (
        f"worst of {len(rows)} slices: {name} with drop {points:+.2f} points on {samples} samples "
        f"(margin {margin:g})"
    )
    if failed:
        told += f"; beyond the margin: {_listed(sorted(failed))}"
    if undecided:
        told += f"; too few samples to decide: {_listed(undecided)}"
    figures = {
        "margin_points": margin,
        "slices": [
            {"name": name, "drop_points": points, "samples": samples, "verdict": verdict}
            for name, points, samples, verdict in rows
        ],
    }
    return Check("slices", _verdict(failed, undecided, len(rows), policy), told, figures)


def _slices(
    outcomes: Outcomes, reference: Outcomes, metric: Metric, groups: Groups, names: Sequence[str] | None
) -> list[_Slice]:
    found = []
    for value in np.unique(groups):
        mask = groups == value
        name = names[int(value)] if names is not None and 0 <= int(value) < len(names) else str(value)
        found.append(_Slice(name, outcomes[mask], reference[mask], metric))
    return found


def _failed(slices: Sequence[_Slice], policy: GatePolicy) -> set[str]:
    failed: set[str] = set()
    left = [
        each for each in slices if each.metric.right_or_wrong or len(each.outcomes) >= LEAST_FOR_RESAMPLING
    ]
    while left:
        share = len(left) if policy.slice_correction == "holm" else len(slices)
        beyond = [
            each for each in left if each.bounds(policy.alpha / share)[0] > policy.max_slice_drop_points
        ]
        if not beyond:
            return failed
        failed |= {each.name for each in beyond}
        left = [each for each in left if each.name not in failed]
    return failed


def _verdict(failed: set[str], undecided: Sequence[str], count: int, policy: GatePolicy) -> Verdict:
    if failed:
        return Verdict.FAIL
    if undecided and policy.undecided_slices == "inconclusive":
        return Verdict.INCONCLUSIVE
    return Verdict.SKIPPED if len(undecided) == count else Verdict.PASS


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
