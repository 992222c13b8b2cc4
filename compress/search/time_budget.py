"""The time after which a run begins no further build, and the messages about it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.hosts.base import Host
    from compress.recipe import Recipe
    from compress.target.target import Target

#: Seconds for builds that are measured on this machine, where nothing is trained and no recipes were given.
UNTRAINED_S = 240.0

#: Without a time budget of the user's, other builds get at least so many times as long as the original took.
TIMES_THE_ORIGINAL = 5


@dataclass(frozen=True)
class TimeBudget:
    """Time after which no further build is begun; a build that has begun is finished.

    Attributes:
        seconds: Seconds from the start of the run; infinite where there is no limit.
        start: Start of the run, in seconds on the clock of :func:`time.perf_counter`.
        given: Whether the user set it.
    """

    seconds: float
    start: float
    given: bool = False

    @classmethod
    def of(cls, given: float | None, start: float, machine: Host, *, open_ended: bool) -> TimeBudget:
        """Return the user's time budget, or the default.

        Args:
            given: Seconds that the user sets; None takes :data:`UNTRAINED_S` on this machine, and no limit on a board,
                whose builds take minutes each.
            start: Start of the run, in seconds on the clock of :func:`time.perf_counter`.
            machine: The machine that builds are measured on.
            open_ended: Whether there is training data or the user named the recipes: then there is no limit by default.
        """
        default = math.inf if open_ended or not machine.builds_take_seconds else UNTRAINED_S
        return cls(default if given is None else given, start, given is not None)

    def after_original(self, took: float) -> TimeBudget:
        """Return the budget once the original was measured: a network that takes long gets as much more by default.

        Args:
            took: Time that the original's build and measurement took, in this run or before it, in seconds.
        """
        if self.given:
            return self
        elapsed = time.perf_counter() - self.start
        return replace(self, seconds=max(self.seconds, elapsed + TIMES_THE_ORIGINAL * took))

    @property
    def over(self) -> bool:
        """Whether the time is spent, so that no further build may begin."""
        return time.perf_counter() - self.start > self.seconds

    def plan(self, most: int, target: Target, machine: Host, seconds: float) -> str:
        """Return a sentence on the longest time of the run, as far as known before the first build.

        Args:
            most: Largest number of builds.
            target: The device that builds are for.
            machine: The machine that builds are measured on.
            seconds: Time to measure each build at each batch size, in seconds.
        """
        more = "" if self.given else f", or {TIMES_THE_ORIGINAL} times what the original takes"
        limit = (
            ""
            if math.isinf(self.seconds)
            else f"; none is begun after {self.seconds:g} s{more} (--time-budget)"
        )
        if machine.source != "measured":
            return f"at most {most} builds, whose times are estimated{limit}"
        conditions = len(target.batch_sizes) + (target.calls_per_second is not None)
        timed = f"each timed for about {seconds * conditions:g} s, less where it is clear before"
        return f"at most {most} builds, {timed}{limit}"

    def stopped(self, following: Recipe) -> str:
        """Return a sentence that names the first of the builds that were not tried."""
        return (
            f"the time budget of {self.seconds:.4g} s was over before {following.name}: "
            "a larger --time-budget tries it and what follows"
        )
