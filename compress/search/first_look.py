"""A brief timing of a build before its accuracy is judged: a clearly slower build cannot be chosen.

It is worth its seconds only where judging takes longer: for large networks and many samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.search.decision import is_outside, lowest_ratio

if TYPE_CHECKING:
    from compress.search.limits import Limits
    from compress.search.run_directory import Candidate, RunDirectory

#: Name of what a candidate's reports hold of it.
REPORT = "first_look"

#: Seconds of judging, at the speed of fp32, from which on a look comes first.
_WORTH_S = 8.0

#: A build is clearly slower from this factor on: two starts of one file differ by a few percent.
_CLEARLY = 1.15


@dataclass(frozen=True)
class FirstLook:
    """One start of a build against fp32, at the batch size that decides.

    Attributes:
        ratio: Time of the build over fp32's.
        rival: Upper bound of the same ratio for the best build so far; 1 where nothing beats fp32.
    """

    ratio: float
    rival: float

    @property
    def lost(self) -> bool:
        """Whether the build is clearly slower than the best so far."""
        return self.ratio > _CLEARLY * self.rival

    @property
    def reason(self) -> str:
        """Reason why the build was not judged."""
        against = "fp32" if self.rival >= 1 else f"the best build so far ({self.rival:.2f}×)"
        return (
            f"slower than {against} in a first look ({self.ratio:.2f}× the time of fp32), and so not judged"
        )


def rival_of(run: RunDirectory, limits: Limits, calls: int) -> float | None:
    """Return the ratio that a build must not exceed by much in a first look.

    Args:
        run: Run with all measurements so far.
        limits: Limits that the user sets.
        calls: Number of calls that it takes to judge the accuracy; see :attr:`compress.data.task.Task.judging_calls`.

    Returns:
        The ratio; None where a first look saves no time: for the original, where more than time decides, or fp32 is
        outside of the limits, and where judging is quick.
    """
    if not run.candidates or limits.front or limits.objective not in ("latency", "throughput"):
        return None
    if is_outside(run.candidates[0], limits):
        return None
    original = run.candidates[0].profile
    if original is None or original.latency[0].source != "measured":
        return None
    first = min(original.latency, key=lambda latency: latency.batch)
    if calls * first.p50_ms / first.batch < 1e3 * _WORTH_S:
        return None
    best = lowest_ratio(run.candidates, limits)
    return 1.0 if best is None else best


def is_outdated(candidate: Candidate, rival: float | None) -> bool:
    """Whether a recorded candidate was not judged because of a rival that the present limits exclude.

    Args:
        candidate: The build, as the earlier run recorded it.
        rival: Present result of :func:`rival_of`.
    """
    seen = candidate.reports.get(REPORT)
    return seen is not None and (rival is None or not FirstLook(seen["ratio"], rival).lost)
