"""The verdict of a check, and of all checks together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

#: Checks without which a gate says nothing: it cannot pass where one of them is switched on and was not made.
ESSENTIAL = frozenset({"accuracy", "latency"})


class Verdict(StrEnum):
    """Verdict of a check; a whole gate is never "skipped"."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One check of a gate.

    Attributes:
        name: Name of the check, as in a policy's ``checks``: "accuracy", "latency", …
        verdict: Verdict of the check.
        detail: One sentence with the figures behind the verdict, or the reason why the check was skipped.
        figures: The same figures by name, with the unit in each name; values that JSON can hold.
    """

    name: str
    verdict: Verdict
    detail: str
    figures: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return a dict that JSON can hold."""
        return {
            "name": self.name,
            "verdict": str(self.verdict),
            "detail": self.detail,
            "figures": dict(self.figures),
        }


def overall(checks: Sequence[Check]) -> Verdict:
    """Combine checks: fail if any fails, inconclusive if any is; pass only where a check passed.

    A skipped check never makes a pass: a gate whose accuracy or latency was skipped is inconclusive,
    and so is one that made no check at all.
    """
    verdicts = {check.verdict for check in checks}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    missing = any(check.verdict is Verdict.SKIPPED and check.name in ESSENTIAL for check in checks)
    if missing or Verdict.INCONCLUSIVE in verdicts or Verdict.PASS not in verdicts:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


def judge_bounds(low: float, high: float, margin: float) -> Verdict:
    """Pass where the upper bound is within the margin, fail where the lower bound is beyond it.

    Bounds that are not numbers decide nothing.
    """
    if high <= margin:
        return Verdict.PASS
    return Verdict.FAIL if low > margin else Verdict.INCONCLUSIVE


def finite(value: float) -> float | None:
    """Return the value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
