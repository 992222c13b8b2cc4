"""HTML tables that scroll inside their own frame, sort by a click, and have captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from compress.reports.markup import Child, Markup, tag


@dataclass(frozen=True)
class Cell:
    """A cell's content, and its key for sorting.

    Attributes:
        content: Text or markup that is shown.
        key: Key that sorts the column; None sorts by the text.
        number: Whether the cell is aligned to the right.
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
    """Return a table whose first column names its rows.

    Args:
        caption: Caption of the table.
        headings: Headings, one for each column.
        rows: Rows of cells, each as long as ``headings``.
        sortable: Whether a click on a heading sorts it.
        long: Whether it may have many rows; it is then cut short and can be filtered.
        marked: Index of the row to emphasise; None for none.
    """
    body = [
        tag(
            "tr",
            *(_cell(cell, headings[column], first=column == 0) for column, cell in enumerate(row)),
            class_="marked" if index == marked else None,
        )
        for index, row in enumerate(rows)
    ]
    head = tag("thead", tag("tr", *(tag("th", heading, scope="col") for heading in headings)))
    whole_table = tag(
        "table",
        tag("caption", caption),
        head,
        tag("tbody", *body),
        data_sortable=sortable,
        data_long=long,
    )
    return tag("div", whole_table, class_="scroll", role="region", aria_label=caption, tabindex=0)


def definitions(entries: Iterable[tuple[str, Child]]) -> Markup:
    """Return a list of terms with their definitions."""
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", meaning)) for term, meaning in entries))


def pairs(values: dict[str, Any]) -> str:
    """Return keys and values in one line."""
    return ", ".join(f"{key} {value}" for key, value in values.items())


def details(summary: Child, *content: Child, opened: bool = False) -> Markup:
    """Return content that is folded until it is opened."""
    return tag("details", tag("summary", summary), *content, open=opened)


def bar(share: float) -> Markup:
    """Return a share from 0 to 1 as a bar, beside which the figure stands."""
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


def _cell(cell: Child | Cell, heading: Child, *, first: bool) -> Markup:
    """Return a cell; it holds its heading, which a phone shows beside it where each row is a block."""
    if first:
        return tag("th", cell.content if isinstance(cell, Cell) else cell, scope="row")
    label = None if isinstance(heading, Markup) else heading
    if isinstance(cell, Cell):
        number = "number" if cell.number else None
        return tag("td", cell.content, data_key=cell.key, data_label=label, class_=number)
    return tag("td", cell, data_label=label)
