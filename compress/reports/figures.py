"""Figures as text: each with its unit and interval, estimates marked as such."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from compress.records.profile import Accuracy, Drop, Interval, Latency, Profile
from compress.reports.markup import Child, Markup, join, tag

ESTIMATED = tag("em", "estimated", class_="estimated")


class Figure(NamedTuple):
    """A value with its unit, and its interval, which is empty where there is none."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value

    def stacked(self, *, estimated: bool = False) -> Markup:
        """Return the interval below the value, and a mark where it is an estimate."""
        parts: list[Child] = [tag("span", self.value, class_="value")]
        if self.interval:
            parts += [" ", tag("small", f"({self.interval})")]
        if estimated:
            parts += [" ", ESTIMATED]
        return join(parts)


def accuracy_figure(accuracy: Accuracy) -> Figure:
    """Format the mean and its interval."""
    scale = 100 if accuracy.in_percent else 1
    return Figure(mean_figure(accuracy.mean, accuracy.in_percent), _ends(accuracy.interval, scale, ".4g"))


def mean_figure(mean: float, percent: bool) -> str:
    """Format a share in percent, any other metric in its own unit."""
    return f"{signed(100 * mean, '.4g')} %" if percent else signed(mean, ".4g")


def drop_figure(drop: Drop) -> Figure:
    """Format the drop, in its unit, with both ends of its interval."""
    return Figure(signed(drop.points, ".2f"), _ends(drop.interval, 1, ".2f"))


def drop_unit(drops: Iterable[Drop | None]) -> str:
    """Return the unit of the drops below one heading: ``points``, ``% of the mean``, or both where they differ."""
    return " or ".join(sorted({drop.unit for drop in drops if drop is not None}, reverse=True)) or "points"


def drops_of(profiles: Iterable[Profile | None]) -> list[Drop | None]:
    """Return the accuracy drop of each build; None where it has none."""
    return [
        None if profile is None or profile.accuracy is None else profile.accuracy.drop for profile in profiles
    ]


def latency_figure(latency: Latency) -> Figure:
    """Format the median in milliseconds and its interval."""
    interval = latency.interval
    return Figure(f"{digits(latency.p50_ms)} ms", f"{digits(interval.low)} to {digits(interval.high)}")


def ratio_figure(latency: Latency) -> Figure:
    """Format the time over fp32's and its interval."""
    if latency.ratio is None:
        return Figure("1×")
    interval = "" if latency.ratio_interval is None else _ends(latency.ratio_interval, 1, ".3f")
    return Figure(f"{latency.ratio:.3f}×", interval)


def description(name: str, verdict: str, accuracy: Accuracy | None, latency: Latency) -> str:
    """Describe one build at one batch size, for a tooltip and for a screen reader."""
    parts = [f"{name}: {verdict}"]
    if accuracy is not None:
        parts.append(f"{accuracy.metric} {accuracy_figure(accuracy)}")
        if accuracy.drop is not None:
            parts.append(f"drop {drop_figure(accuracy.drop)} {accuracy.drop.unit}")
    word = "estimated " if latency.source == "estimated" else ""
    parts.append(f"{word}{latency_figure(latency)} at batch {latency.batch}")
    if latency.ratio is not None:
        parts.append(f"{word}{ratio_figure(latency)} fp32's time")
    return "; ".join(parts)


def size_text(size_bytes: float) -> str:
    """Format a number of bytes in units of 1000."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 999.5:
            return f"{digits(size_bytes)} {unit}"
        size_bytes /= 1000
    return f"{digits(size_bytes)} GB"


def digits(value: float) -> str:
    """Format a number with three significant digits, or all before the point: 1000 and not 1e+03."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _ends(interval: Interval, scale: float, form: str) -> str:
    return f"{signed(interval.low * scale, form)} to {signed(interval.high * scale, form)}"


def signed(value: float, form: str) -> str:
    """Format a number with a true minus sign, and none before zero."""
    text = format(value, form)
    return "0" + text[2:] if text.strip("-0.") == "" and text.startswith("-") else text.replace("-", "−")
