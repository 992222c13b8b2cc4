"""What a check says, and what all checks say together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

#: Checks without which a gate says nothing: it cannot pass where one of them is switched on and was not made.
ESSENTIAL = frozenset({"accuracy", "latency"})


class Verdict(StrEnum):
    """What a check says; a whole gate is never "skipped"."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One check of a gate.

    Attributes:
        name: As a policy's ``checks`` has it: "accuracy", "latency", …
        verdict: What it says.
        detail: One sentence with the figures it rests on, or why it was skipped.
        figures: The same figures by name, each with its unit in the name; what JSON can hold.
    """

    name: str
    verdict: Verdict
    detail: str
    figures: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """As JSON holds it."""
        return {
            "name": self.name,
            "verdict": str(self.verdict),
            "detail": self.detail,
            "figures": dict(self.figures),
        }


def overall(checks: Sequence[Check]) -> Verdict:
    """Fail if any check fails, inconclusive if any is; pass only where a check passed.

    A check that was skipped turns nothing to pass: a gate whose accuracy or latency was skipped is inconclusive,
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
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
