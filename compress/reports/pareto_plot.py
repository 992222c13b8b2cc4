"""Accuracy against latency, as SVG: a point per build, its intervals, and the Pareto front.

Both axes are relative to fp32, since that is what was measured in pairs: time as a multiple of fp32's, accuracy as
the change in points. Builds differ by shape and by filling, and not by colour alone (Okabe and Ito's palette).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from compress.records.profile import Interval, Latency
from compress.reports.figures import digits
from compress.reports.markup import Markup, asset, join, tag
from compress.reports.timings import at
from compress.search.decision import pareto_front
from compress.search.run_directory import Candidate

Kind = Literal["shipped", "original", "front", "other"]

#: Drawn above 100 % this is text of 12 px; a character of it is about this wide.
_CHARACTER = 6.7
_LINE = 15.0


@dataclass(frozen=True)
class Point:
    """One build in the plot.

    Attributes:
        name: Name of its recipe.
        kind: Kind of the build, which its marker's shape shows.
        time: Latency relative to fp32's.
        time_interval: Confidence interval of ``time``; None for fp32 itself and for estimates.
        gain: Change of accuracy against fp32 in points; positive is better.
        gain_interval: Confidence interval of ``gain``; None for fp32 itself.
        description: Line with all its figures, for tooltips and screen readers.
    """

    name: str
    kind: Kind
    time: float
    time_interval: Interval | None
    gain: float
    gain_interval: Interval | None
    description: str


@dataclass(frozen=True)
class Axis:
    """A linear scale.

    Attributes:
        low: Smallest value shown.
        high: Largest value shown.
        start: Position of ``low``, in pixels.
        end: Position of ``high``, in pixels.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value, in pixels."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    def ticks(self, most: int) -> list[float]:
        """Return round values inside the axis, at most ``most`` but at least one."""
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        finer: list[float] = []
        for step in (power, 2 * power, 5 * power, 10 * power):
            multiples = self._multiples(step)
            if len(multiples) <= most:
                return multiples or finer[:most]
            finer = multiples
        return finer[:most]

    def _multiples(self, step: float) -> list[float]:
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]


def points_of(
    candidates: Sequence[Candidate], shipped: str, like: Latency, descriptions: Sequence[str]
) -> list[Point]:
    """Return the measured builds at one batch size.

    Args:
        candidates: All candidates that were tried, the original first.
        shipped: Name of the build that was shipped.
        like: Latency of the original at that batch size.
        descriptions: Line of text for each candidate, by its name.
    """
    front = front_at(candidates, like)
    points = []
    for position, (entry, text) in enumerate(zip(candidates, descriptions, strict=True)):
        latency = None if entry.profile is None else at(entry.profile, like)
        if entry.profile is None or latency is None:
            continue
        drop = entry.profile.accuracy.drop if entry.profile.accuracy else None
        name = entry.recipe.name
        kind: Kind = "front" if name in front else "other"
        if position == 0:
            kind = "original"
        if name == shipped:
            kind = "shipped"
        lost = None if drop is None else drop.interval
        points.append(
            Point(
                name,
                kind,
                1.0 if latency.ratio is None else latency.ratio,
                latency.ratio_interval,
                0.0 if drop is None else -drop.points,
                None if lost is None else Interval(-lost.high, -lost.low, lost.level),
                text,
            )
        )
    return points


def front_at(candidates: Sequence[Candidate], like: Latency) -> tuple[str, ...]:
    """Return the names on the Pareto front at the batch size of the original's latency, fastest first."""
    return pareto_front(
        [
            replace(entry, profile=replace(entry.profile, latency=(latency,)))
            for entry in candidates
            if entry.profile is not None and (latency := at(entry.profile, like)) is not None
        ]
    )


def draw(
    points: Sequence[Point],
    front: Sequence[str],
    *,
    width: int,
    height: int,
    title: str,
    accuracy: str,
    original_ms: float,
    estimated: bool = False,
    standalone: bool = False,
) -> Markup:
    """Draw the plot as one ``<svg>``.

    Args:
        points: Points to draw, at least one.
        front: Names on the Pareto front, fastest first.
        width: Width of the plot, in pixels.
        height: Height of the plot, in pixels.
        title: Title of the plot, for screen readers.
        accuracy: Name and unit of the vertical axis.
        original_ms: Median latency of fp32 in milliseconds, which the upper axis multiplies.
        estimated: Whether the times are estimates, which both horizontal axes then say.
        standalone: Whether it is a file of its own, with its style inside and nothing to focus.
    """
    across = Axis(*_extent([(p.time, p.time_interval) for p in points], 1.0), 58, width - 28)
    up = Axis(*_extent([(p.gain, p.gain_interval) for p in points], 0.0), height - 52, 62)
    parts = [
        _grid(across, up, width, height, original_ms, estimated),
        tag("text", f"{accuracy} against fp32 (up is better)", x=4, y=16, class_="axis"),
        tag(
            "text",
            f"{'estimated ' if estimated else ''}time over fp32's, × (left is faster)",
            x=width - 28,
            y=height - 8,
            class_="axis end",
        ),
        _front_line(points, front, across, up),
        join(_bars(point, across, up) for point in points),
        _labels(points, across, up),
        tag("g", *(_point(p, across, up, focusable=not standalone) for p in points), role="list"),
    ]
    size = {"viewBox": f"0 0 {width} {height}", "width": width, "height": height}
    if standalone:
        style = tag("style", asset("plot.css"), asset("plot-alone.css"))
        back = tag("rect", width=width, height=height, class_="back")
        name = {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria_label": title}
        return tag("svg", tag("title", title), style, back, *parts, class_="plot", **size, **name)
    return tag("svg", *parts, class_="plot", role="group", aria_label=title, **size)


def symbol(kind: Kind, x: float, y: float) -> Markup:
    """Return the centred shape of a kind of build."""
    if kind == "shipped":
        corners = []
        for corner in range(10):
            radius, angle = (10.5, 4.4)[corner % 2], math.pi * (corner / 5 - 0.5)
            corners.append(f"{x + radius * math.cos(angle):.1f},{y + radius * math.sin(angle):.1f}")
        return tag("polygon", points=" ".join(corners), class_="mark shipped")
    if kind == "original":
        return tag("rect", x=round(x - 6, 2), y=round(y - 6, 2), width=12, height=12, class_="mark original")
    return tag("circle", cx=x, cy=y, r=6, class_=f"mark {kind}")


def _extent(values: Iterable[tuple[float, Interval | None]], reference: float) -> tuple[float, float]:
    """Return the lowest and highest value with their intervals and fp32's, and a margin."""
    ends = [reference]
    for value, interval in values:
        ends += [value] if interval is None else [value, interval.low, interval.high]
    low, high = min(ends), max(ends)
    # Builds that differ by less than rounding are drawn as equal.
    margin = 0.1 * (high - low) if high - low > 1e-6 else 0.1
    return low - margin, high + margin


def _grid(across: Axis, up: Axis, width: int, height: int, original_ms: float, estimated: bool) -> Markup:
    parts: list[Markup] = []
    free = -math.inf  # Up to where the upper axis is written on, px.
    for value in across.ticks(8 if width > 500 else 4):
        x = across(value)
        time = f"{'≈ ' if estimated else ''}{digits(value * original_ms)} ms"
        room = len(time) * _CHARACTER / 2
        parts += [
            tag("line", x1=x, x2=x, y1=up.start, y2=up.end, class_="grid"),
            tag("text", f"{value:.4g}×", x=x, y=up.start + 18, class_="tick middle"),
        ]
        if x - room > free:
            parts.append(tag("text", time, x=x, y=up.end - 8, class_="tick middle"))
            free = x + room + _CHARACTER
    for value in up.ticks(6):
        y = up(value)
        label = "0" if abs(value) < 1e-9 else f"{value:+.3g}".replace("-", "−")
        parts += [
            tag("line", x1=across.start, x2=across.end, y1=y, y2=y, class_="grid"),
            tag("text", label, x=across.start - 8, y=y + 4, class_="tick end"),
        ]
    parts += [
        tag("line", x1=across(1), x2=across(1), y1=up.start, y2=up.end, class_="reference"),
        tag("line", x1=across.start, x2=across.end, y1=up(0), y2=up(0), class_="reference"),
    ]
    return tag("g", *parts, aria_hidden="true")


def _front_line(points: Sequence[Point], front: Sequence[str], across: Axis, up: Axis) -> Markup:
    """Return the front as steps: a build below and to the right is beaten in both by one on the front."""
    by_name = {point.name: point for point in points}
    steps: list[tuple[float, float]] = []
    for name in front:
        x, y = across(by_name[name].time), up(by_name[name].gain)
        steps += [(x, steps[-1][1] if steps else up.start), (x, y)]
    steps.append((across.end, steps[-1][1]))
    corners = " ".join(f"{x},{y}" for x, y in steps)
    return tag("polyline", points=corners, class_="front-line", aria_hidden="true")


def _bars(point: Point, across: Axis, up: Axis) -> Markup:
    x, y = across(point.time), up(point.gain)
    parts: list[Markup] = []
    if point.time_interval is not None:
        low, high = across(point.time_interval.low), across(point.time_interval.high)
        parts += [tag("line", x1=low, x2=high, y1=y, y2=y)]
        parts += [tag("line", x1=end, x2=end, y1=y - 4, y2=y + 4) for end in (low, high)]
    if point.gain_interval is not None:
        low, high = up(point.gain_interval.low), up(point.gain_interval.high)
        parts += [tag("line", x1=x, x2=x, y1=low, y2=high)]
        parts += [tag("line", x1=x - 4, x2=x + 4, y1=end, y2=end) for end in (low, high)]
    return tag("g", *parts, class_=f"bars {point.kind}", aria_hidden="true")


def _point(point: Point, across: Axis, up: Axis, *, focusable: bool) -> Markup:
    x, y = across(point.time), up(point.gain)
    # A finger needs more room than the mark itself.
    room = tag("circle", cx=x, cy=y, r=16, class_="room")
    more = {"tabindex": 0} if focusable else {}
    return tag(
        "g",
        room,
        symbol(point.kind, x, y),
        class_="point",
        role="listitem",
        aria_label=point.description,
        **more,
    )


#: Left, top, right, bottom, px.
Box = tuple[float, float, float, float]


def _labels(points: Sequence[Point], across: Axis, up: Axis) -> Markup:
    """Place names beside the points, clear of marks and other names, and of bars where possible.

    A name that fits nowhere is left to the tooltip.
    """
    boxes_taken = [_around(across(point.time), up(point.gain), 9, 9) for point in points]
    bars = [box for point in points for box in _boxes_of_bars(point, across, up)]
    order: dict[Kind, int] = {"shipped": 0, "original": 1, "front": 2, "other": 3}
    written = []
    for point in sorted(points, key=lambda entry: order[entry.kind]):
        x, y = across(point.time), up(point.gain)
        length = len(point.name) * _CHARACTER
        places = [
            (start, base - _LINE + 4, start + length, base + 4)
            for base in (y - 12, y + 20, y - 27, y + 35, y + 4)
            for start in (x + 13, x - 13 - length, x - length / 2)
            if start >= across.start and start + length <= across.end
            if base - _LINE + 4 >= up.end and base + 4 <= up.start
        ]
        free = [box for box in places if not any(_overlap(box, other) for other in boxes_taken)]
        clear = [box for box in free if not any(_overlap(box, other) for other in bars)]
        for box in (clear or free)[:1]:
            boxes_taken.append(box)
            written.append(
                tag(
                    "text",
                    point.name,
                    x=round(box[0], 2),
                    y=round(box[3] - 4, 2),
                    class_=f"label {point.kind}",
                )
            )
    return tag("g", *written, aria_hidden="true")


def _boxes_of_bars(point: Point, across: Axis, up: Axis) -> list[Box]:
    x, y = across(point.time), up(point.gain)
    boxes = []
    if point.gain_interval is not None:
        boxes.append((x - 4, up(point.gain_interval.high), x + 4, up(point.gain_interval.low)))
    if point.time_interval is not None:
        boxes.append((across(point.time_interval.low), y - 4, across(point.time_interval.high), y + 4))
    return boxes


def _around(x: float, y: float, width: float, height: float) -> Box:
    return x - width, y - height, x + width, y + height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
