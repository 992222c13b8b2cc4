"""Accuracy class by class: a table with the drop of each drawn as a dot on its interval, the worst first.

The intervals of one build hold together (Bonferroni), since the worst of many slices is worst by chance as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from compress.records.profile import Slice
from compress.reports.figures import drop_figure, drop_unit, mean_figure, signed
from compress.reports.markup import Child, Markup, join, tag
from compress.reports.pareto_plot import Axis
from compress.reports.run import Run
from compress.reports.tables import MISSING, Cell, details, table
from compress.search.run_directory import Candidate

#: Size of the drawing in each row, in pixels; the ends of an interval stay inside.
_WIDTH, _HEIGHT, _INSET = 220, 20, 12

#: Shown on either side of 0 where no slice moved at all, points.
_LEAST_EXTENT = 1.0

WORSE = "worse than fp32"

#: Of so few classes all are shown at once; of more, only those that are worse.
_FEW = 20


def slices(run: Run) -> Markup:
    """Return a section with the slices of every build; those of the shipped build are unfolded."""
    drawn = [entry for entry in run.candidates if _bounded(entry)]
    if not drawn:
        return tag("p", "No build was compared with fp32 class by class: the data has no class labels.")
    axis = _axis([part for entry in drawn for part in _bounded(entry)])
    original = {part.name: part for part in run.original.slices} if run.original else {}
    return join(
        [
            tag("p", _note(len(_bounded(drawn[0])), drawn[0])),
            *(_build(entry, original, axis, opened=_unfolded(entry, run, drawn)) for entry in drawn),
        ]
    )


def worst_first(parts: Sequence[Slice]) -> list[Slice]:
    """Sort slices by drop, the largest first, of equal ones the less certain first; those without a drop last."""
    return sorted(
        parts,
        key=lambda part: (
            (math.inf, 0.0) if part.drop is None else (-part.drop.points, -part.drop.interval.high)
        ),
    )


def finding(part: Slice) -> str:
    """Return the conclusion that the interval of a slice allows."""
    if part.drop is None:
        return "too few samples"
    if part.drop.interval.low > 0:
        return WORSE
    return "better than fp32" if part.drop.interval.high < 0 else "no difference shown"


def _bounded(entry: Candidate) -> list[Slice]:
    return [] if entry.profile is None else [part for part in entry.profile.slices if part.drop is not None]


def _unfolded(entry: Candidate, run: Run, drawn: Sequence[Candidate]) -> bool:
    names = [drawn_entry.recipe.name for drawn_entry in drawn]
    return entry.recipe.name == (run.shipped if run.shipped in names else names[0])


def _note(count: int, entry: Candidate) -> str:
    drop = _bounded(entry)[0].drop
    level = 0.0 if drop is None else 100 * drop.interval.level
    return (
        f"The drop of each class against fp32, paired by sample, the worst first. The {count} intervals of a build "
        f"hold together: each is at {level:.4g} %, so that with 90 % confidence none of them misses its true drop "
        f"(Bonferroni). A bar with 0 on it shows no difference."
    )


def _build(entry: Candidate, original: dict[str, Slice], axis: Axis, *, opened: bool) -> Markup:
    if entry.profile is None or entry.profile.accuracy is None:
        return join([])
    scale = entry.profile.accuracy.in_percent
    parts = worst_first(entry.profile.slices)
    unit = drop_unit(part.drop for part in parts)
    headings: list[Child] = [
        "class",
        join([f"against fp32, {unit} ", _scale(axis)]),
        f"drop, {unit}",
        entry.profile.accuracy.metric,
        f"{entry.profile.accuracy.metric} of fp32",
        "samples",
    ]
    name = entry.recipe.name
    tables = []
    for label, members in _by_finding(parts).items():
        rows = [_row(part, original.get(part.name), axis, percent=scale) for part in members]
        slice_table = table(
            f"Accuracy of {name}: {label}, worst first", headings, rows, sortable=True, long=True
        )
        count = "1 class" if len(members) == 1 else f"{len(members)} classes"
        summary: Child = tag("strong", f"▲ {count}: {label}") if label == WORSE else f"{count}: {label}"
        tables.append(details(summary, slice_table, opened=label == WORSE or len(parts) <= _FEW))
    return details(_summary(name, parts), *tables, opened=opened)


def _by_finding(parts: Sequence[Slice]) -> dict[str, list[Slice]]:
    """Group classes by their finding, so that it is told once: those that are worse first."""
    grouped: dict[str, list[Slice]] = {WORSE: []}
    for part in parts:
        grouped.setdefault(finding(part), []).append(part)
    return {label: members for label, members in grouped.items() if members}


def _summary(name: str, parts: Sequence[Slice]) -> str:
    worst = parts[0]
    if worst.drop is None:
        return f"{name}: {len(parts)} classes"
    worse = sum(finding(part) == WORSE for part in parts)
    proven = (
        f"{worse} of {len(parts)} classes worse"
        if worse
        else f"none of {len(parts)} classes shown to be worse"
    )
    return f"{name}: {proven} than fp32; the worst is {worst.name}, drop {drop_figure(worst.drop)} {worst.drop.unit}"


def _row(part: Slice, before: Slice | None, axis: Axis, *, percent: bool) -> list[Child]:
    cells = [
        Cell(mean_figure(part.mean, percent), part.mean),
        MISSING if before is None else Cell(mean_figure(before.mean, percent), before.mean),
        Cell(str(part.samples), part.samples),
    ]
    if part.drop is None:
        return [part.name, MISSING, MISSING, *cells]
    return [
        part.name,
        Cell(_drawing(part, axis), part.drop.points),
        Cell(drop_figure(part.drop).stacked(), part.drop.points),
        *cells,
    ]


def _axis(parts: Sequence[Slice]) -> Axis:
    """Return the axis common to all builds, so that their rows can be compared by eye."""
    ends = [end for part in parts if part.drop for end in (part.drop.interval.low, part.drop.interval.high)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    if high - low < 1e-6:
        low, high = -_LEAST_EXTENT, _LEAST_EXTENT
    return Axis(low, high, _INSET, _WIDTH - _INSET)


def _scale(axis: Axis) -> Markup:
    """Draw the axis in the heading of its column."""
    marks = [
        tag(
            "text",
            signed(value, ".3g") if abs(value) > 1e-9 else "0",
            x=axis(value),
            y=14,
            class_="tick middle",
        )
        for value in axis.ticks(4)
    ]
    return _svg(*marks, class_="plot dots", aria_hidden="true")


def _drawing(part: Slice, axis: Axis) -> Markup:
    if part.drop is None:
        return join([])
    middle = _HEIGHT / 2
    low, high, x = (axis(v) for v in (part.drop.interval.low, part.drop.interval.high, part.drop.points))
    worse = finding(part) == WORSE
    shape: Markup = tag("circle", cx=x, cy=middle, r=4.5, class_="mark front")
    if worse:
        corners = f"{x},{middle - 7} {x + 7},{middle + 6} {x - 7},{middle + 6}"
        shape = tag("polygon", points=corners, class_="mark shipped")
    return _svg(
        tag("line", x1=axis(0), x2=axis(0), y1=0, y2=_HEIGHT, class_="reference"),
        tag(
            "g",
            tag("line", x1=low, x2=high, y1=middle, y2=middle),
            *(tag("line", x1=end, x2=end, y1=middle - 4, y2=middle + 4) for end in (low, high)),
            class_="bars shipped" if worse else "bars",
        ),
        shape,
        class_="plot dots",
        aria_hidden="true",
    )


def _svg(*children: Child, **attributes: Child) -> Markup:
    return tag("svg", *children, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", **attributes)
