"""Tables that no terminal cuts: whole where there is room, else with wrapped names, else a block for each row."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from compress.cli.plain_rich import PlainTable
from compress.core.plain_text import plain

#: Characters of a line that a table may take.
_WIDEST = 10_000

#: Cells that tell nothing; a block leaves them out.
_NOTHING = ("", "–")

#: Ends of the parts of a name, after which it may go on in the next line.
_PART = re.compile(r".+?(?:[-_./: ]+|$)")


class Name:
    """Name of a build, a layer or a file; where room is short it goes on in the next line, after a hyphen or the like.

    Args:
        text: The name; its control characters are shown as escapes.
    """

    def __init__(self, text: str) -> None:
        self._text = plain(text)

    def __str__(self) -> str:
        return self._text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the width of the longest part, and of the whole."""
        longest = max((len(part.rstrip()) for part in self._parts()), default=0)
        return Measurement(longest, len(self._text)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the name in as many lines as it needs."""
        lines = [""]
        for part in self._parts():
            if lines[-1] and len(lines[-1]) + len(part.rstrip()) > options.max_width:
                lines.append("")
            lines[-1] += part
        yield Text("\n".join(line.rstrip() for line in lines), overflow="fold")

    def _parts(self) -> list[str]:
        return _PART.findall(self._text)


def plain_table(title: str | None = None, *, headings: bool = True) -> Table:
    """Return a table with a line below its headings and none around it; title and caption flush left.

    Args:
        title: Line above the table; None for none.
        headings: Whether the columns have headings.
    """
    return PlainTable(
        title=None if title is None else Text(plain(title)),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD if headings else None,
        show_header=headings,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if headings else (0, 2, 0, 0),
    )


def print_table(console: Console, table: Table, *, optional: Sequence[str] = ()) -> None:
    """Print a table so that no cell is cut.

    Where there is no terminal, each row is one line, however long. On a terminal where the room is short, columns that
    may wrap do so, and those that matter least are left out, which is said. Where that is not enough, each row becomes
    a block with a line for each of its figures.

    Args:
        console: Console to print to.
        table: Table, whose columns may wrap unless they are ``no_wrap``. It is changed.
        optional: Headings of the columns that may be left out, the first to go first.
    """
    if not bounded(console):
        console.width = max(console.width, _whole_width(console, table))
    every, left_out = list(table.columns), list[str]()
    fits = _shrunk(console, table)
    for heading in optional:
        if not fits:
            columns = [column for column in table.columns if str(column.header) != heading]
            table.columns = [replace(column, _index=place) for place, column in enumerate(columns)]
            left_out.append(heading)
            fits = _shrunk(console, table)
    if not fits:
        table.columns = every
        for line in _blocks(table):
            console.print(line, overflow="fold")
        return
    if console.is_terminal:
        console.print(table)
    else:
        with console.capture() as printed:
            console.print(table)
        for text in printed.get().splitlines():
            console.print(Text(text.rstrip()), soft_wrap=True)
    if left_out:
        console.print(Text(f"left out where the terminal is narrow: {', '.join(left_out)}"))


def bounded(console: Console) -> bool:
    """Whether lines have an end: on a terminal, and where ``COLUMNS`` says so."""
    return console.is_terminal or "COLUMNS" in os.environ


def _whole_width(console: Console, table: Table) -> int:
    """Return the characters of a line that a table takes where nothing wraps."""
    return Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum


def _shrunk(console: Console, table: Table) -> bool:
    """Make columns that may wrap as narrow as the console needs; False where wrapping between words is not enough."""
    excess = _whole_width(console, table) - console.width
    sizes = [(column, _size(console, column)) for column in table.columns if not column.no_wrap]
    spare = sorted(((size.span, size, column) for column, size in sizes), key=lambda entry: entry[0])
    room = sum(span for span, _, _ in spare) - excess
    if room < 0:
        return False
    for columns_left, (span, size, column) in zip(range(len(spare), 0, -1), spare, strict=True):
        given_room = min(span, room // columns_left)
        column.width = size.minimum + given_room
        room -= given_room
    return True


def _size(console: Console, column: Column) -> Measurement:
    """Return the width of a column's longest word, and of its longest cell."""
    options = console.options.update(max_width=_WIDEST)
    cells = [column.header, column.footer, *column.cells]
    sizes = [Measurement.get(console, options, cell) for cell in cells]
    least = [
        size.maximum if isinstance(cell, Text) and cell.no_wrap else size.minimum
        for cell, size in zip(cells, sizes, strict=True)
    ]
    return Measurement(max(least), max(size.maximum for size in sizes))


def _blocks(table: Table) -> Iterator[Text]:
    """Yield the lines of a table's blocks: the first cell of a row, and below it the others with their headings."""
    if table.title:
        yield _one_line(table.title)
    cells = [list(column.cells) for column in table.columns]
    headings = [str(_one_line(column.header)) for column in table.columns]
    wide = max(map(len, headings[1:]), default=0)
    for row, style in enumerate(table_row.style for table_row in table.rows):
        yield _styled(_one_line(cells[0][row]), style)
        for heading, column in zip(headings[1:], cells[1:], strict=True):
            cell = _one_line(column[row])
            if str(cell) not in _NOTHING:
                yield _styled(Text(f"  {heading:{wide}}  " if wide else "  ").append_text(cell), style)
    footers = [str(_one_line(column.footer)) for column in table.columns]
    if table.show_footer and any(footers):
        totals = zip(["", *headings[1:]], footers, strict=True)
        yield Text(", ".join(f"{heading} {total}".strip() for heading, total in totals if total))
    if table.caption:
        yield _one_line(table.caption)


def _styled(line: Text, style: object) -> Text:
    line.stylize(style or "")  # type: ignore[arg-type]
    return line


def _one_line(cell: RenderableType | None) -> Text:
    """Return a cell's text with each run of spaces and ends of lines as one space."""
    return Text(" ".join(str(cell or "").split()))
