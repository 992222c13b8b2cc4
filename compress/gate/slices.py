"""Accuracy in every slice of the data: a class or group that collapses hardly moves the mean.

A slice fails where its drop is beyond the margin, with the error shared among all slices, so that many of them
raise no more false alarms than one. Holm's procedure ('A simple sequentially rejective multiple test procedure',
Scandinavian Journal of Statistics 6, 1979) shares it among the slices not yet failed, Bonferroni's among all.

Tango's score test allows for as many samples won as lost, and so says little of a few samples: of a class of five that
lost all five it is sure at 1.7 %, which is not enough among ten classes. The exact binomial test takes the share of
samples that are won from all slices, where it is known well, and puts the same at 3e-7. A class may change more than
the others, though, so that nothing fails by it; but what it finds lost is no pass either, and neither is a slice of
which nothing is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.gate.accuracy import Outcomes
from compress.gate.policy import GatePolicy
from compress.gate.verdict import Check, Verdict, finite
from compress.statistics.binomial import at_least, pmf

if TYPE_CHECKING:
    from compress.metrics import Metric
    from compress.records.profile import Drop

Groups = np.ndarray[Any, np.dtype[Any]]

_NAMED = 5


@dataclass(frozen=True, eq=False)
class Part:
    """Outcomes that are judged on their own.

    Attributes:
        name: Name of the slice.
        outcomes: Outcomes of the candidate, float64 ``(n,)``, at least one.
        reference: Outcomes of the baseline on the same samples, float64 ``(n,)``.
        metric: Metric of these outcomes.
    """

    name: str
    outcomes: Outcomes
    reference: Outcomes
    metric: Metric

    @property
    def decidable(self) -> bool:
        """Whether there are samples enough to decide."""
        from compress.profiling.accuracy import decidable

        return decidable(self.metric, len(self.outcomes))

    @property
    def changed(self) -> tuple[int, int]:
        """Numbers of samples on which the candidate is worse than the baseline, and on which it is better."""
        better = (self.outcomes > self.reference) == self.metric.higher_is_better
        different = self.outcomes != self.reference
        return int((different & ~better).sum()), int((different & better).sum())

    def drop(self, alpha: float) -> Drop:
        """Return the accuracy drop in points, with bounds that err with probability ``alpha`` each."""
        from compress.profiling.accuracy import drop_of

        return drop_of(self.outcomes, self.reference, self.metric, alpha)


def judge_slices(
    outcomes: Outcomes,
    reference: Outcomes,
    metric: Metric,
    groups: Groups,
    policy: GatePolicy,
    names: Sequence[str] | None = None,
) -> Check:
    """Check non-inferiority in each group.

    Args:
        outcomes: Outcomes of the candidate, float64 ``(n,)``, at least one.
        reference: Outcomes of the baseline on the same samples, float64 ``(n,)``.
        metric: Metric of these outcomes.
        groups: Slice of each sample, ``(n,)`` integers or texts.
        policy: Margin, error, and meaning of an undecided slice.
        names: Names of the slices, where ``groups`` counts them from 0.
    """
    from compress.profiling.slices import members

    parts = [Part(name, outcomes[mask], reference[mask], metric) for name, mask in members(groups, names)]
    return judge_parts("slices", parts, policy.max_slice_drop_points, policy)


def judge_parts(name: str, parts: Sequence[Part], margin: float, policy: GatePolicy) -> Check:
    """Check non-inferiority in each of several parts.

    Args:
        name: Name of the check, in the plural: "slices".
        parts: Slices to judge, at least one.
        margin: Drop allowed in each slice, in absolute points.
        policy: Error, how it is shared, and meaning of an undecided part.
    """
    beyond = _failed(parts, margin, policy)
    rows: list[tuple[str, float, int, str]] = []
    unit = parts[0].drop(policy.alpha).unit
    failed: list[str] = []
    doubtful: list[str] = []
    undecided: list[str] = []
    for position, part in enumerate(parts):
        drop = part.drop(policy.alpha)
        # Every part has to pass, so each may be bounded at the whole error (intersection-union test).
        passed = part.decidable and drop.interval.high <= margin
        verdict = "fail" if position in beyond else "pass" if passed else "undecided"
        if verdict == "fail":
            failed.append(part.name)
        elif verdict == "undecided":
            seems_lost = _seems_lost(part, parts, margin, policy.alpha)
            (doubtful if seems_lost else undecided).append(part.name)
        rows.append((part.name, drop.points, len(part.outcomes), verdict))
    worst, points, samples, _ = max(rows, key=lambda row: (row[3] == "fail", row[0] in doubtful, row[1]))
    detail = (
        f"worst of {len(rows)} {name}: '{worst}' with drop {points:+.2f} {unit} on {samples} samples "
        f"(margin {margin:g})"
    )
    if failed:
        detail += f"; beyond the margin: {_listed(failed)}"
    if doubtful:
        detail += f"; beyond it by all that their few samples show: {_listed(doubtful)}"
    if undecided:
        detail += f"; not decided by their samples: {_listed(undecided)}"
    figures = {
        "margin_points": margin,
        name: [
            {"name": part_name, "drop_points": finite(points), "samples": samples, "verdict": verdict}
            for part_name, points, samples, verdict in rows
        ],
    }
    return Check(name, _verdict(failed, doubtful, undecided, len(rows), policy), detail, figures)


def _failed(parts: Sequence[Part], margin: float, policy: GatePolicy) -> set[int]:
    """Return the positions of the parts whose drop is beyond the margin."""
    failed: set[int] = set()
    remaining = {position: part for position, part in enumerate(parts) if part.decidable}
    while remaining:
        share = len(remaining) if policy.slice_correction == "holm" else len(parts)
        beyond = {
            position
            for position, part in remaining.items()
            if part.drop(policy.alpha / share).interval.low > margin
        }
        if not beyond:
            break
        failed |= beyond
        remaining = {position: part for position, part in remaining.items() if position not in failed}
    return failed


def _seems_lost(part: Part, parts: Sequence[Part], margin: float, alpha: float) -> bool:
    """Whether the samples of an undecided part speak for a drop beyond the margin, however few they are."""
    if not part.metric.right_or_wrong:
        # Above so many samples as a decision takes, the bounds of all parts together have said what there is to say.
        return not part.decidable and part.drop(alpha).interval.low > margin
    lost, won = part.changed
    if margin >= 100 or lost <= won:
        return False
    samples = sum(len(other.outcomes) for other in parts)
    share = max(sum(other.changed[1] for other in parts) / samples, won / len(part.outcomes))
    p = float(at_least(pmf(len(part.outcomes), min(share + max(margin / 100, 1e-12), 1 - 1e-12)))[lost])
    nothing_left = not part.outcomes.any()
    return p <= (alpha if nothing_left else alpha / len(parts))


def _verdict(
    failed: Sequence[str], doubtful: Sequence[str], undecided: Sequence[str], count: int, policy: GatePolicy
) -> Verdict:
    if failed:
        return Verdict.FAIL
    if doubtful or (undecided and policy.undecided_slices == "inconclusive"):
        return Verdict.INCONCLUSIVE
    return Verdict.SKIPPED if len(undecided) == count else Verdict.PASS


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
