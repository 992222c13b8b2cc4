"""``compress history``: how latency, accuracy, size and memory changed over recorded profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compress.cli.command import Command
from compress.cli.saying import say_wrapped
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import JustifyMethod
    from rich.table import Table

    from compress.trends import Series


@click.command(cls=Command)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--markdown", type=click.Path(path_type=Path, dir_okay=False), help="File for the trends in Markdown."
)
@click.option("--json", "as_json", is_flag=True, help="Print every point and change as one JSON object.")
def history(directory: Path, markdown: Path | None, as_json: bool) -> int:
    """Show the trends of the profiles and bundles below DIRECTORY, and where a figure changed its level.

    \b
    Example:
      compress history profiles/ --markdown history.md

    There is a series for each network, target and figure; latencies and memory of different machines, and accuracies on
    different data, are never mixed. A series that did not change is marked by mistake in 1 of 100 cases. Profiles are
    what `compress profile --out` and `compress optimize` write; one that was changed afterwards is refused.
    """
    from compress.core.replacing import check_replaceable
    from compress.reports.trends import trends_json, trends_markdown
    from compress.trends import read_recordings, series_of

    if markdown is not None:
        check_replaceable(markdown)
    recordings = read_recordings(directory)
    series = series_of(recordings.entries)
    if markdown is not None:
        from compress.reports.writing import write_text

        write_text(markdown, trends_markdown(recordings, series))
    if as_json:
        click.echo(json_text(trends_json(str(directory), recordings, series), indent=2))
        return 0

    from compress.cli.plain_rich import PlainConsole
    from compress.cli.tables import print_table
    from compress.reports.trends import groups, notes, sentences

    console = PlainConsole()
    for title, members in groups(series).items():
        print_table(console, _table(title, members), optional=("n", "trend"))
        console.print()
    for sentence in [*sentences(series), *notes(recordings, series)]:
        say_wrapped(sentence)
    return 0


def _table(title: str, series: Sequence[Series]) -> Table:
    from compress.cli.tables import plain_table
    from compress.reports.trends import HEADINGS, row

    table = plain_table(title)
    for heading in HEADINGS:
        justify: JustifyMethod = "right" if heading in ("n", "first", "last") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "change")
    for curve in series:
        worse = bool(curve.changes) and curve.changes[-1].worse
        table.add_row(*row(curve), style="red" if worse else "")
    return table
