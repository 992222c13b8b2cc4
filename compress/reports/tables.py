"""HTML tables that scroll inside their own frame, sort by a click, and say what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from compress.reports.markup import Child, Markup, tag


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and by what it is sorted.

    Attributes:
        content: Text or markup.
        key: Sorts the column; None where the text itself does.
        number: Whether it is set flush right.
    """

    content: Child
    key: float | None = None
    number: bool = True


MISSING = Cell("–")


def table(
    caption: str,
    headings: Sequence[Child],
    rows: Iterable[Sequence[Child | Cell]],
    *,
    sortable: bool = False,
    long: bool = False,
    marked: int | None = None,
) -> Markup:
    """A table whose first column names its rows.

    Args:
        caption: Says what it is.
        headings: One per column.
        rows: Each as long as ``headings``.
        sortable: Whether a click on a heading sorts it.
        long: Whether it may have more rows than one wants to see; it is then cut short and can be filtered.
        marked: Index of the row to emphasise.
    """
    body = [
        tag(
            "tr",
            *(_cell(cell, first=column == 0) for column, cell in enumerate(row)),
            class_="marked" if index == marked else None,
        )
        for index, row in enumerate(rows)
    ]
    head = tag("thead", tag("tr", *(tag("th", heading, scope="col") for heading in headings)))
    whole = tag(
        "table",
        tag("caption", caption),
        head,
        tag("tbody", *body),
        data_sortable=sortable,
        data_long=long,
    )
    return tag("div", whole, class_="scroll", role="region", aria_label=caption, tabindex=0)


def definitions(entries: Iterable[tuple[str, Child]]) -> Markup:
    """Terms and what they are."""
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", meaning)) for term, meaning in entries))


def pairs(values: dict[str, Any]) -> str:
    """Keys and values in one line."""
    return ", ".join(f"{key} {value}" for key, value in values.items())


def details(summary: Child, *content: Child, opened: bool = False) -> Markup:
    """Content that is folded away until it is asked for."""
    return tag("details", tag("summary", summary), *content, open=opened)


def bar(share: float) -> Markup:
    """A share from 0 to 1 as a length; the figure itself stands beside it."""
    width = round(100 * min(max(share, 0.0), 1.0), 2)
    return tag(
        "svg",
        tag("rect", width=100, height=8, class_="whole"),
        tag("rect", width=width, height=8, class_="part"),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def _cell(cell: Child | Cell, *, first: bool) -> Markup:
    if first:
        return tag("th", cell.content if isinstance(cell, Cell) else cell, scope="row")
    if isinstance(cell, Cell):
        return tag("td", cell.content, data_key=cell.key, class_="number" if cell.number else None)
    return tag("td", cell)
