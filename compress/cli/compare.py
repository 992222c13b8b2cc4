"""``compress compare``: builds side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compress.cli.saying import say
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.reports.comparison import Comparison


@click.command()
@click.argument("builds", nargs=-1, required=True, type=click.Path())
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the comparison as HTML, which needs no network.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as one JSON object.")
def compare(builds: tuple[str, ...], html: Path | None, as_json: bool) -> int:
    """Put the figures of BUILDS side by side: bundles, or profiles that compress profile --out wrote.

    \b
    Example:
      compress compare build/ main/

    What keeps two of them from being compared, such as other data or another machine, is told below the figures.
    """
    from compress.reports.comparison import compare as run

    found = run(builds)
    if html is not None:
        from compress.reports.html import comparison_page
        from compress.reports.writing import write_text

        write_text(html, comparison_page(found))
    if as_json:
        click.echo(json_text(found.to_dict(), indent=2))
        return 0
    _print(found)
    for note in found.notes:
        say(f"note: {note}")
    return 0


def _print(found: Comparison) -> None:
    """Print a table where the terminal is wide enough, and else a block for each figure."""
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import plain_table, width_of
    from compress.core.plain_text import plain

    console = PlainConsole()
    table = plain_table()
    table.add_column("", no_wrap=True)
    for name in found.names:
        table.add_column(plain(name), no_wrap=True)
    for figure, values in found.rows:
        table.add_row(figure, *(plain(value) for value in values))
    if width_of(console, table) <= console.width:
        console.print(table)
        return
    for figure, values in found.rows:
        say(f"{figure}:")
        for name, value in zip(found.names, values, strict=True):
            say(f"  {name}: {value}")
