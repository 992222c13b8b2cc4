"""How long a run goes on beginning builds, and what a person is told of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.hosts.base import Host
    from compress.recipe import Recipe
    from compress.target.target import Target

#: Seconds for builds that are measured on this machine, where nothing is trained and no recipes were given.
UNTRAINED_S = 240.0


@dataclass(frozen=True)
class TimeBudget:
    """Seconds after which no further build is begun; those begun are finished.

    Attributes:
        seconds: From the start of the run; infinite where there is no limit.
        start: When the run began, on :func:`time.perf_counter`'s clock.
    """

    seconds: float
    start: float

    @classmethod
    def of(cls, given: float | None, start: float, machine: Host, *, open_ended: bool) -> TimeBudget:
        """The user's own, or the default.

        Args:
            given: Seconds; None takes :data:`UNTRAINED_S` on this machine, and no limit on a board, whose builds take
                minutes each.
            start: When the run began.
            machine: The machine that builds are measured on.
            open_ended: Whether there is training data or the user named the recipes: then there is no limit by default.
        """
        default = math.inf if open_ended or not machine.builds_take_seconds else UNTRAINED_S
        return cls(default if given is None else given, start)

    @property
    def over(self) -> bool:
        """Whether the seconds are over, so that no further build may be begun."""
        return time.perf_counter() - self.start > self.seconds

    def plan(self, most: int, target: Target, machine: Host, seconds: float) -> str:
        """What the run will take at the most, as far as it is known before the first build.

        Args:
            most: How many builds there are at the most.
            target: The device that builds are for.
            machine: The machine that builds are measured on.
            seconds: Seconds of timing for each build and batch size.
        """
        limit = (
            "" if math.isinf(self.seconds) else f"; none is begun after {self.seconds:g} s (--time-budget)"
        )
        if machine.source != "measured":
            return f"at most {most} builds, whose times are estimated{limit}"
        conditions = len(target.batch_sizes) + (target.calls_per_second is not None)
        timed = f"each timed for about {seconds * conditions:g} s, less where it is clear before"
        return f"at most {most} builds, {timed}{limit}"

    def stopped(self, following: Recipe) -> str:
        """That builds are left, from this one on, which were not tried."""
        return (
            f"the time budget of {self.seconds:g} s was over before {following.name}: "
            "a larger --time-budget tries it and what follows"
        )
