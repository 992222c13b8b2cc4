"""Contest of a build against fp32: both in processes of their own, in turns, restarted until the ratio is known.

One measurement gives all figures of a build: its milliseconds, the ratio, and the decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compress.profiling.latency import LEVEL, Budget, shapes_of, summary
from compress.records.profile import Interval, Latency
from compress.statistics.ratios import log_ratio_bounds
from compress.timing.processes import Feeds, Times, stored_feeds, workers
from compress.timing.solo import widened
from compress.timing.turns import take_turns

if TYPE_CHECKING:
    from compress.backends.base import Artifact

#: Starts of both builds at the least, and at the most where they do not decide before.
LEAST_STARTS, MOST_STARTS = 2, 6

#: Starts of a build that seems to be faster, however short the time is: two that differ decide nothing.
_PROMISING_STARTS = 4

#: A ratio is known well enough where its interval's upper end is within this factor of it.
PRECISE = 1.04

#: Ratio below which, in each start, it is clear that a build is faster; only the decisive batch size is known better.
_CLEARLY = 0.9

#: Milliseconds of a call of fp32 from which on a batch size is timed only of builds that are still in the race.
_LONG_MS = 200.0

#: Milliseconds of a call of fp32 from which on one start is enough where it shows a clear gain and nothing is decided.
_VERY_LONG_MS = 1000.0


class Condition(NamedTuple):
    """Condition of a figure.

    Attributes:
        batch: Number of samples in a call.
        period_s: Seconds from one call to the next; None for calls back to back.
    """

    batch: int
    period_s: float | None


@dataclass
class _Seen:
    """Observations under one condition, start by start."""

    log_ratios: list[float] = field(default_factory=list)
    medians_ms: list[float] = field(default_factory=list)
    reference_ms: list[float] = field(default_factory=list)
    calls_ms: list[Times] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        return log_ratio_bounds(self.log_ratios)

    @property
    def known(self) -> bool:
        """Whether more starts would change nothing: slower than fp32, or faster by a ratio that is precise."""
        low, high = self.bounds
        return low > 0 or (high < 0 and high - float(np.mean(self.log_ratios)) < math.log(PRECISE))


class Contest:
    """Times a build against fp32 at each batch size, the first of which decides.

    Args:
        artifact: The build.
        reference: The fp32 that it is compared with, by batch size.
        feeds: One batch for each batch size.
        paths: File that holds the batch, by batch size.
        budget: Time budget of each batch size, in all starts together.
        period_s: Seconds from call to call of a further comparison at the smallest batch size, of paced calls; None for
            none.
        rival: Upper bound of another build's ratio at the first batch size; None where there is none; 0 where the build
            cannot be chosen whatever its time.
    """

    def __init__(
        self,
        artifact: Artifact,
        reference: Callable[[int], Artifact],
        feeds: Mapping[int, Feeds],
        paths: Mapping[int, Path],
        budget: Budget,
        period_s: float | None = None,
        rival: float | None = None,
    ) -> None:
        self._artifact, self._feeds, self._paths, self._budget = artifact, feeds, paths, budget
        self._references = {batch: reference(batch) for batch in feeds}
        self._seen = {Condition(batch, None): _Seen() for batch in feeds}
        if period_s is not None:
            self._seen[Condition(min(feeds), period_s)] = _Seen()
        self._decisive = Condition(next(iter(feeds)), None)
        self._out = rival == 0
        self._rival = math.inf if rival is None else -math.inf if self._out else math.log(rival)
        self._peak_mb: float | None = None

    def figures(self) -> tuple[tuple[Latency, ...], float | None]:
        """Run the contest.

        Returns:
            A figure for each condition that was timed, the decisive one first; and the build's peak memory in MiB. Slow
            batch sizes of a build that has lost are left out, and for one that cannot be chosen all but the decisive.

        Raises:
            NetworkError: One of the two cannot be run, or crashes.
        """
        for start in range(MOST_STARTS):
            conditions = list(self._wanted(start))
            if not conditions:
                break
            self._start(conditions, start)
        return tuple(
            self._figure(condition) for condition, seen in self._seen.items() if seen.log_ratios
        ), self._peak_mb

    def _wanted(self, start: int) -> Iterator[Condition]:
        """Return the conditions whose figures another start would improve."""
        if start >= LEAST_STARTS and self._lost():
            return
        for condition in self._seen:
            if start >= LEAST_STARTS:
                is_wanted = self._worth_another(condition, start)
            else:
                is_wanted = not (self._ahead(condition) and self._long(condition, _VERY_LONG_MS))
            if is_wanted:
                yield condition

    def _worth_another(self, condition: Condition, start: int) -> bool:
        """Whether one more start under a condition is worth its time."""
        seen = self._seen[condition]
        if seen.known or (self._long(condition) and self._ahead(condition)):
            return False
        if seen.seconds < self._budget.seconds:
            return True
        unclear = float(np.mean(seen.log_ratios)) < 0 <= seen.bounds[1]
        return unclear and start < _PROMISING_STARTS and not self._long(condition)

    def _ahead(self, condition: Condition) -> bool:
        """Whether every start was clearly faster than fp32, under a condition that does not decide.

        Not where none was timed: a slow batch size is left out for as long as the decisive one looks lost.
        """
        log_ratios = self._seen[condition].log_ratios
        return condition != self._decisive and bool(log_ratios) and max(log_ratios) < math.log(_CLEARLY)

    def _lost(self) -> bool:
        """Whether the build has proven slower than fp32, or than another build."""
        low, _ = self._seen[self._decisive].bounds
        return low > min(0.0, self._rival)

    def _start(self, conditions: list[Condition], start: int) -> None:
        contenders = [
            self._artifact,
            *distinct(self._references[condition.batch] for condition in conditions),
        ]
        with workers(contenders, self._paths) as opened:
            if start == 0:
                self._peak_mb = opened[0].peak_memory_mb
            for condition in conditions:
                seen = self._seen[condition]
                if condition != self._decisive and self._hopeless() and (self._out or self._long(condition)):
                    continue
                reference = opened[contenders.index(self._references[condition.batch], 1)]
                share = self._budget.seconds / MOST_STARTS
                turns = take_turns(
                    [opened[0], reference], condition.batch, share, period_s=condition.period_s
                )
                seen.log_ratios.append(turns.log_ratio(0, 1))
                ours_ms, other = np.median(turns.medians_ms, axis=0)
                seen.medians_ms.append(float(ours_ms))
                seen.reference_ms.append(float(other))
                seen.calls_ms.append(turns.calls_ms[0])
                seen.seconds += turns.seconds

    def _long(self, condition: Condition, limit_ms: float = _LONG_MS) -> bool:
        """Whether a call of fp32 takes longer than a limit; by the decisive batch size's time."""
        decisive = self._seen[self._decisive]
        per_sample = float(np.median(decisive.reference_ms)) / self._decisive.batch
        return per_sample * condition.batch > limit_ms

    def _hopeless(self) -> bool:
        """Whether the decisive ratio, as far as it is known, is above that of fp32 or of another build."""
        return float(np.mean(self._seen[self._decisive].log_ratios)) > min(0.0, self._rival)

    def _figure(self, condition: Condition) -> Latency:
        seen = self._seen[condition]
        together = summary(np.concatenate(seen.calls_ms), condition.batch)
        low, high = seen.bounds
        bounded = math.isfinite(low) and math.isfinite(high)
        return replace(
            widened(together, seen.medians_ms),
            drift=None,  # calls are taken in turns with another build's: they are no series
            ratio=math.exp(float(np.mean(seen.log_ratios))),
            ratio_interval=Interval(math.exp(low), math.exp(high), LEVEL) if bounded else None,
            starts=len(seen.log_ratios),
            shapes=shapes_of(self._feeds[condition.batch]),
            period_ms=None if condition.period_s is None else 1e3 * condition.period_s,
            reference_ms=float(np.median(seen.reference_ms)),
            reference_options=self._references[condition.batch].options,
        )


def times_against(
    artifact: Artifact, other: Artifact, feeds: Mapping[int, Feeds], budget: Budget
) -> dict[int, Latency]:
    """Time one build against another at each batch size, however clear it is at the first.

    Args:
        artifact: The build.
        other: Build that it is compared with.
        feeds: One batch for each batch size.
        budget: Time budget of each batch size.

    Raises:
        NetworkError: One of the two cannot be run, or crashes.
    """
    figures = {}
    with stored_feeds(feeds) as paths:
        for batch in feeds:
            one = {batch: feeds[batch]}, {batch: paths[batch]}
            ((figure,), _) = Contest(artifact, lambda _: other, *one, budget).figures()
            figures[batch] = figure
    return figures


def distinct(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """Return the artifacts in order, each once; their options are not hashable, so a set cannot hold them."""
    distinct_artifacts: list[Artifact] = []
    for artifact in artifacts:
        if artifact not in distinct_artifacts:
            distinct_artifacts.append(artifact)
    return distinct_artifacts
