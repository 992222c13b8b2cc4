"""``compress compare``: builds side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compress.cli.command import Command
from compress.cli.saying import say_wrapped
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.reports.comparison import Comparison


@click.command(cls=Command)
@click.argument("builds", nargs=-1, required=True, type=click.Path())
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the comparison as HTML, which needs no internet connection.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as one JSON object.")
def compare(builds: tuple[str, ...], html: Path | None, as_json: bool) -> int:
    """Put the figures of BUILDS side by side: bundles, or profiles that compress profile --out wrote.

    \b
    Example:
      compress compare build/ main/

    What keeps two of them from being compared, such as other data or another machine, is told below the figures.
    """
    from compress.core.replacing import check_replaceable
    from compress.reports.comparison import compare as run

    if html is not None:
        check_replaceable(html)
    comparison = run(builds)
    if html is not None:
        from compress.reports.html import comparison_page
        from compress.reports.writing import write_text

        write_text(html, comparison_page(comparison))
    if as_json:
        click.echo(json_text(comparison.to_dict(), indent=2))
        return 0
    _print(comparison)
    for note in comparison.notes:
        say_wrapped(f"note: {note}")
    return 0


def _print(comparison: Comparison) -> None:
    from rich.text import Text

    from compress.cli.plain_rich import PlainConsole
    from compress.cli.tables import Name, plain_table, print_table
    from compress.core.plain_text import plain

    table = plain_table()
    table.add_column("", no_wrap=True)
    for name in comparison.names:
        table.add_column(Name(name))
    for figure, values in comparison.rows:
        table.add_row(figure, *(Text(plain(value), no_wrap=True) for value in values))
    print_table(PlainConsole(), table)
