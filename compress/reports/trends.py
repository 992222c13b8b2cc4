"""Trends as text: a line of bars for each series, and a sentence for each change."""

from __future__ import annotations

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
    told = moved(changes[-1], series) if changes else still
    first, last = (_figure(point.value, series) for point in (series.points[0], series.points[-1]))
    return (series.figure, str(len(series.points)), sparkline(series), first, last, told)


def moved(change: Change, series: Series) -> str:
    """Describe a change and whether it is for the worse; in points for figures in percent, else in percent."""
    word = "worse" if change.worse else "better"
    difference = change.after - change.before
    if series.unit == "%":
        return f"{difference:+.2f} points, {word}"
    return f"{100 * difference / change.before:+.1f} %, {word}" if change.before else word


def sentences(series: Sequence[Series]) -> list[str]:
    """Return a sentence for each change: the figure, its old and new level, when, and the first file with it."""
    told = []
    for each in series:
        for change in each.changes:
            first = each.points[change.index]
            before, after = _figure(change.before, each), _figure(change.after, each)
            chance = "" if change.p is None else f", p = {change.p:.2g}"
            told.append(
                f"{each.network} on {each.target}: {each.figure} {moved(change, each)}: {before} to {after}, "
                f"first in {_place(first)}{chance}"
            )
    return told


def notes(recordings: Recordings, series: Sequence[Series]) -> list[str]:
    """Return notes on the order, on files passed over, and on series that cannot be decided."""
    told = []
    if recordings.untimed:
        told.append(
            f"{recordings.untimed} of {len(recordings.found)} profiles have no time: they come first, by their names"
        )
    if recordings.others:
        told.append(f"{recordings.others} JSON files are no profiles and were passed over")
    short = sum(not each.decidable for each in series)
    if short:
        told.append(
            f"{short} of {len(series)} series have fewer than {LEAST_POINTS} points: too few to tell a change"
        )
    return told


def groups(series: Sequence[Series]) -> dict[str, list[Series]]:
    """Group the series by a title: network and target, and the machine where there are several."""
    machines: dict[tuple[str, str], set[str]] = {}
    for each in series:
        machines.setdefault((each.network, each.target), set()).update([each.machine] if each.machine else [])
    found: dict[str, list[Series]] = {}
    for each in series:
        several = len(machines[each.network, each.target]) > 1 and each.machine is not None
        where = f", machine {each.machine}" if several else ""
        found.setdefault(f"{each.network} on {each.target}{where}", []).append(each)
    return found


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
        lines += [f"| {' | '.join(cell(text) for text in row(each))} |" for each in members]
        lines.append("")
    told = [*sentences(series), *notes(recordings, series)]
    lines += [f"- {cell(sentence)}" for sentence in told]
    return "\n".join(lines).rstrip() + "\n"


def trends_json(directory: str, recordings: Recordings, series: Sequence[Series]) -> dict[str, Any]:
    """Return all trends as a dict that JSON can hold."""
    return {
        "schema": 1,
        "directory": directory,
        "profiles": len(recordings.found),
        "untimed": recordings.untimed,
        "other_files": recordings.others,
        "series": [
            {
                "network": each.network,
                "target": each.target,
                "figure": each.figure,
                "unit": each.unit,
                "machine": each.machine,
                "data": each.data,
                "decidable": each.decidable,
                "points": [_point(point) for point in each.points],
                "changes": [vars(change).copy() for change in each.changes],
            }
            for each in series
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
