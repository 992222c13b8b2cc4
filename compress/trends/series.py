"""A figure of one network on one target over time, and the changes of its level.

Latencies and memory are compared on the same machine only, accuracies on the same data: a series never mixes them.
Median latency, accuracy and memory vary from build to build without a cause, so a change has to be more than chance
allows; see :mod:`compress.statistics.change_points`. Size does not: each change of more than 1 % counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from compress.machine.machine import fingerprint_id
from compress.statistics.change_points import LEAST, change_points

if TYPE_CHECKING:
    from compress.trends.recordings import Recording

#: Share of the size that counts as a change; a name in the graph's metadata moves some bytes.
_SIZE_CHANGE = 0.01

#: Points in which a change of a figure that varies can be found at all.
LEAST_POINTS = 2 * LEAST


@dataclass(frozen=True)
class Point:
    """One value of a series.

    Attributes:
        recording: Recording that the value is from.
        value: Value in the unit of the series.
        low: Lower end of its interval, in the same unit; None where it has none.
        high: Upper end of its interval, in the same unit; None where it has none.
    """

    recording: Recording
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Change:
    """A change of a series to another level.

    Attributes:
        index: Index of the first point of the new level.
        before: Median of the level before, in the unit of the series.
        after: Median of the new level, in the unit of the series.
        worse: Whether the new level is the worse one.
        p: Share of random orders of the points that differ as much; None where the figure is exact.
    """

    index: int
    before: float
    after: float
    worse: bool
    p: float | None


@dataclass(frozen=True)
class Series:
    """One figure over time.

    Attributes:
        network: Name of the network.
        target: Name of the target of its builds.
        figure: Name of the figure, with its condition: ``p50 at batch 1``, ``top-1``, ``size``, ``memory``.
        unit: Unit of the figure: ``ms``, ``%``, ``kB``, ``MiB``, or empty.
        machine: Identity of the machine that latencies and memory belong to, twelve hexadecimal digits; else None.
        data: The first twelve digits of the sha256 of the data that accuracies belong to; else None.
        higher_is_better: Direction of the figure.
        exact: Whether the figure never varies by chance.
        points: Points in the order of time, at least one.
    """

    network: str
    target: str
    figure: str
    unit: str
    machine: str | None = None
    data: str | None = None
    higher_is_better: bool = False
    exact: bool = False
    points: tuple[Point, ...] = ()

    @property
    def decidable(self) -> bool:
        """Whether there are enough points to find a change."""
        return self.exact or len(self.points) >= LEAST_POINTS

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Return the changes of level, in order."""
        values = [point.value for point in self.points]
        if self.exact:
            cuts: list[tuple[int, float | None]] = [(index, None) for index in _exact_changes(values)]
        else:
            cuts = [(change_point.index, change_point.p) for change_point in change_points(values)]
        edges = [0, *(index for index, _ in cuts), len(values)]
        levels = [statistics.median(values[start:end]) for start, end in pairwise(edges)]
        return tuple(
            Change(index, before, after, (after < before) == self.higher_is_better, p)
            for (index, p), (before, after) in zip(cuts, pairwise(levels), strict=True)
        )


def series_of(recordings: Iterable[Recording]) -> list[Series]:
    """Return the series of every figure of every network and target, by name.

    Args:
        recordings: Recordings in the order of time.
    """
    grouped: dict[Series, list[Point]] = {}
    for recording in recordings:
        for series, point in _figures(recording):
            grouped.setdefault(series, []).append(point)
    all_series = [replace(series, points=tuple(points)) for series, points in grouped.items()]
    return sorted(
        all_series, key=lambda curve: (curve.network, curve.target)
    )  # figures stay in a profile's order


def _figures(recording: Recording) -> Iterator[tuple[Series, Point]]:
    """Return a point of each figure, and the series that it belongs to, still without points."""
    profile = recording.profile
    machine = fingerprint_id(profile.fingerprint)
    plain = Series(recording.network, profile.target, "size", "kB", exact=True)
    varying = replace(plain, unit="MiB", figure="memory", machine=machine, exact=False)
    for latency in profile.latency:
        measured = latency.source == "measured"
        figure = f"p50 at batch {latency.batch}{'' if measured else ', estimated'}"
        series = replace(varying, figure=figure, unit="ms", machine=machine if measured else None)
        yield series, Point(recording, latency.p50_ms, latency.interval.low, latency.interval.high)
    if profile.accuracy is not None:
        accuracy, ends = profile.accuracy, profile.accuracy.interval
        scale, unit = (100, "%") if accuracy.in_percent else (1, "")
        series = replace(
            varying,
            figure=accuracy.metric,
            unit=unit,
            machine=None,
            data=accuracy.data_sha256[:12],
            higher_is_better=accuracy.higher_is_better,
        )
        yield series, Point(recording, scale * accuracy.mean, scale * ends.low, scale * ends.high)
    yield plain, Point(recording, profile.artifact_bytes / 1000)
    if profile.peak_memory_mb is not None:
        yield varying, Point(recording, profile.peak_memory_mb)


def _exact_changes(values: list[float]) -> Iterator[int]:
    level = values[0]
    for index, value in enumerate(values[1:], start=1):
        if abs(value - level) > _SIZE_CHANGE * abs(level):
            yield index
            level = value
