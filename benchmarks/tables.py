"""Tables of the documents, made from the recorded results: ``python -m benchmarks tables``.

In a document, ``<!-- table: NAME -->`` stands above the table NAME of :data:`benchmarks.layouts.LAYOUTS`; the lines
below it that begin with ``|`` are written anew. ``python -m benchmarks tables --check`` only tells what differs.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.results import Row

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "docs" / "explanation" / "figures.md",
)

_MARK = re.compile(r"^<!-- table: (?P<name>\S+) -->\n(?P<table>(?:\|.*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Layout:
    """Layout by which the rows of a result become a table.

    Attributes:
        result: Name of the result's file, without ``.json``.
        rows: Name of the table in it.
        columns: Heading of each column, and its cell as a format string over the row's values. A cell whose value is
            None is "–"; of a truth value, the format has two texts, for true and for false: ``{inside:|, outside}``.
            A format that begins with ``-`` writes a minus in place of a hyphen: ``{drop:-.2f}``.
        keep: Function that tells whether a row is shown; None shows all.
        wide: Key of the line, and for each row the prefix under which its values join that line; None where each row
            is a line of its own.
        change: Function that changes the values of a line before they are written; None changes nothing.
    """

    result: str
    rows: str
    columns: Mapping[str, str]
    keep: Callable[[Row], bool] | None = None
    wide: tuple[str, Callable[[Row], str]] | None = None
    change: Callable[[Row], Row] | None = None


def rewritten(text: str, layouts: Mapping[str, Layout]) -> str:
    """Return a document's text with every marked table made anew.

    Raises:
        KeyError: A mark names no layout.
    """

    def _anew(found: re.Match[str]) -> str:
        return f"<!-- table: {found['name']} -->\n{markdown(layouts[found['name']])}"

    return _MARK.sub(_anew, text)


def markdown(layout: Layout) -> str:
    """Return the table of a layout in Markdown, of the recorded rows, with a line end."""
    return markdown_of(layout, results.read(layout.result).tables[layout.rows])


def markdown_of(layout: Layout, rows: Sequence[Row]) -> str:
    """Return a table of rows in Markdown, with a line end.

    Args:
        layout: Layout of the table; its result is not read.
        rows: Rows as :func:`benchmarks.results.record` takes them.
    """
    lines = [line for line in _lines(rows, layout.wide) if layout.keep is None or layout.keep(line)]
    if layout.change is not None:
        lines = [layout.change(line) for line in lines]
    cells = [[_cell(form, line) for form in layout.columns.values()] for line in lines]
    table = [list(layout.columns), ["---"] * len(layout.columns), *cells]
    return "".join(_line(each) for each in table)


def last_line(layout: Layout, row: Row) -> str:
    """Return one row as a line of the layout's table, without a line end."""
    return markdown_of(layout, [row]).splitlines()[-1]


def _lines(rows: Sequence[Row], wide: tuple[str, Callable[[Row], str]] | None) -> Iterator[Row]:
    if wide is None:
        yield from rows
        return
    key, prefix = wide
    lines: dict[Any, dict[str, Any]] = {}
    for row in rows:
        lines.setdefault(row[key], {key: row[key]})[prefix(row)] = row
    yield from lines.values()


def _cell(form: str, row: Row) -> str:
    try:
        return _Cells().vformat(form, (), row)
    except _NoValueError:
        return "–"


def _line(cells: Sequence[str]) -> str:
    if set(cells) == {"---"}:
        return "|" + "|".join(cells) + "|\n"
    return "|" + "|".join(f" {cell} " if cell else "  " for cell in cells) + "|\n"


class _NoValueError(Exception):
    """A cell's value is None."""


class _Cells(string.Formatter):
    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        try:
            return super().get_field(field_name, args, kwargs)
        except TypeError as error:  # a part of None: {nncf[batch_1]} where NNCF was not run
            raise _NoValueError from error

    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            raise _NoValueError
        if isinstance(value, bool):
            yes, _, no = format_spec.partition("|")
            return yes if value else no
        text: str = super().format_field(value, format_spec)
        return text.replace("-", "−") if format_spec.startswith("-") else text
