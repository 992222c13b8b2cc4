"""Trends as text: a line of bars for each series, and a sentence for each change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.gate.verdict import finite
from compress.reports.figures import digits, size_text
from compress.reports.gate_markdown import cell
from compress.trends.series import LEAST_POINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compress.trends import Change, Recordings, Series
    from compress.trends.series import Point

_BARS = "▁▂▃▄▅▆▇█"

#: The newest points are shown; this many fit beside the figures in 80 columns.
_SHOWN = 20

HEADINGS = ("figure", "n", "trend", "first", "last", "change")


def sparkline(series: Series, shown: int = _SHOWN) -> str:
    """Return a bar for each of the newest points, from the lowest value to the highest; ``│`` before a new level."""
    values = [point.value for point in series.points][-shown:]
    left_out = len(series.points) - len(values)
    cuts = {change.index - left_out for change in series.changes}
    low, high = min(values), max(values)
    span = high - low
    bars = (
        "│" * (index in cuts and index > 0)
        + _BARS[round((value - low) / span * (len(_BARS) - 1)) if span else len(_BARS) // 2 - 1]
        for index, value in enumerate(values)
    )
    return "".join(bars)


def row(series: Series) -> tuple[str, ...]:
    """Return the cells of a table row under :data:`HEADINGS`."""
    changes = series.changes
    still = "none" if series.decidable and len(series.points) > 1 else "too few"
    movement = moved(changes[-1], series) if changes else still
    first, last = (_figure(point.value, series) for point in (series.points[0], series.points[-1]))
    return (series.figure, str(len(series.points)), sparkline(series), first, last, movement)


def moved(change: Change, series: Series) -> str:
    """Describe a change and whether it is for the worse; in points for figures in percent, else in percent."""
    word = "worse" if change.worse else "better"
    difference = change.after - change.before
    if series.unit == "%":
        return f"{difference:+.2f} points, {word}"
    return f"{100 * difference / change.before:+.1f} %, {word}" if change.before else word


def sentences(series: Sequence[Series]) -> list[str]:
    """Return a sentence for each change: the figure, its old and new level, when, and the first file with it."""
    lines = []
    for curve in told_apart(series):
        for change in curve.changes:
            first = curve.points[change.index]
            before, after = _figure(change.before, curve), _figure(change.after, curve)
            chance = "" if change.p is None else f", p = {change.p:.2g}"
            lines.append(
                f"{curve.network} on {curve.target}: {curve.figure} {moved(change, curve)}: {before} to {after}, "
                f"first in {_place(first)}{chance}"
            )
    return lines


def notes(recordings: Recordings, series: Sequence[Series]) -> list[str]:
    """Return notes on the order, on files passed over, and on series that cannot be decided."""
    lines = []
    if recordings.untimed:
        lines.append(
            f"{recordings.untimed} of {len(recordings.entries)} profiles have no time: they come first, by their names"
        )
    if recordings.others:
        lines.append(f"{recordings.others} JSON files are no profiles and were passed over")
    short = sum(not curve.decidable for curve in series)
    if short:
        lines.append(
            f"{short} of {len(series)} series have fewer than {LEAST_POINTS} points: too few to tell a change"
        )
    return lines


def told_apart(series: Sequence[Series]) -> list[Series]:
    """Return the series with their data in the name of the figure where it was measured on several."""
    data: dict[tuple[str, str, str], set[str | None]] = {}
    for curve in series:
        data.setdefault((curve.network, curve.target, curve.figure), set()).add(curve.data)
    return [
        replace(curve, figure=f"{curve.figure}, data {curve.data}")
        if curve.data is not None and len(data[curve.network, curve.target, curve.figure]) > 1
        else curve
        for curve in series
    ]


def groups(series: Sequence[Series]) -> dict[str, list[Series]]:
    """Group the series by a title: network and target, and the machine where there are several."""
    machines: dict[tuple[str, str], set[str]] = {}
    for curve in series:
        machines.setdefault((curve.network, curve.target), set()).update(
            [curve.machine] if curve.machine else []
        )
    by_heading: dict[str, list[Series]] = {}
    for curve in told_apart(series):
        several = len(machines[curve.network, curve.target]) > 1 and curve.machine is not None
        where = f", machine {curve.machine}" if several else ""
        by_heading.setdefault(f"{curve.network} on {curve.target}{where}", []).append(curve)
    return by_heading


def trends_markdown(recordings: Recordings, series: Sequence[Series]) -> str:
    """Return Markdown with a table for each network and target, the changes, and the notes."""
    lines = ["### compress history", ""]
    for title, members in groups(series).items():
        lines += [
            f"**{cell(title)}**",
            "",
            f"| {' | '.join(HEADINGS)} |",
            "| --- | --: | --- | --: | --: | --- |",
        ]
        lines += [f"| {' | '.join(cell(text) for text in row(member))} |" for member in members]
        lines.append("")
    items = [*sentences(series), *notes(recordings, series)]
    lines += [f"- {cell(sentence)}" for sentence in items]
    return "\n".join(lines).rstrip() + "\n"


def trends_json(directory: str, recordings: Recordings, series: Sequence[Series]) -> dict[str, Any]:
    """Return all trends as a dict that JSON can hold."""
    return {
        "schema": 1,
        "directory": directory,
        "profiles": len(recordings.entries),
        "untimed": recordings.untimed,
        "other_files": recordings.others,
        "series": [
            {
                "network": curve.network,
                "target": curve.target,
                "figure": curve.figure,
                "unit": curve.unit,
                "machine": curve.machine,
                "data": curve.data,
                "decidable": curve.decidable,
                "points": [_point(point) for point in curve.points],
                "changes": [vars(change).copy() for change in curve.changes],
            }
            for curve in series
        ],
    }


def _point(point: Point) -> dict[str, Any]:
    recording = point.recording
    return {
        "file": str(recording.path),
        "recorded_at": None if recording.when is None else recording.when.isoformat(),
        "recipe": recording.profile.recipe,
        "artifact_sha256": recording.profile.artifact_sha256,
        "network_sha256": recording.profile.network_sha256,
        "value": point.value,
        "low": None if point.low is None else finite(point.low),
        "high": None if point.high is None else finite(point.high),
    }


def _place(point: Point) -> str:
    when = point.recording.when
    return f"{point.recording.path}" + ("" if when is None else f" of {when:%Y-%m-%d %H:%M} UTC")


def _figure(value: float, series: Series) -> str:
    if series.unit == "%":
        return f"{value:.2f} %"
    if series.unit == "kB":
        return size_text(1000 * value)
    return f"{digits(value)} {series.unit}".rstrip()
