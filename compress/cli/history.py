"""``compress history``: how latency, accuracy, size and memory changed over recorded profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compress.core.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from compress.trends import Series


@click.command()
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
    from compress.reports.trends import trends_json, trends_markdown
    from compress.trends import read_recordings, series_of

    recordings = read_recordings(directory)
    series = series_of(recordings.found)
    if markdown is not None:
        from compress.reports.writing import write_text

        write_text(markdown, trends_markdown(recordings, series))
    if as_json:
        click.echo(json_text(trends_json(str(directory), recordings, series), indent=2))
        return 0

    from compress.cli.plain_rich import PlainConsole
    from compress.reports.trends import groups, notes, sentences

    console = PlainConsole()
    for title, members in groups(series).items():
        console.print(_table(title, members))
        console.print()
    for sentence in [*sentences(series), *notes(recordings, series)]:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    return 0


def _table(title: str, series: Sequence[Series]) -> Table:
    from compress.cli.terminal import plain_table
    from compress.reports.trends import HEADINGS, row

    table = plain_table(title)
    for heading in HEADINGS:
        table.add_column(
            heading, justify="right" if heading in ("n", "first", "last") else "left", no_wrap=True
        )
    for each in series:
        worse = bool(each.changes) and each.changes[-1].worse
        table.add_row(*row(each), style="red" if worse else "")
    return table
