"""``compress cache``: what compress keeps on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compress.cli.command import Command
from compress.cli.saying import say
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.api.cache import Kept


@click.command(cls=Command)
@click.argument("directories", metavar="[DIRECTORY]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--remove", "removed", is_flag=True, help="Delete what is listed, but for the key.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as one JSON object.")
def cache(directories: tuple[Path, ...], removed: bool, as_json: bool) -> int:
    """List what compress keeps on this machine, with sizes: engines, results of steps and of interrupted runs, the key.

    \b
    Example:
      compress cache --remove

    Engines, timing caches, compiled programs, what steps of recipes made (trained weights, quantized models) and times
    of layers lie in the user's cache directory. A step that nobody used for 60 days goes by itself, and the oldest ones
    above 10 GB. Results of interrupted runs (OUT.partial) are looked for in each DIRECTORY and below, by default in the
    working directory; without them a run begins anew. Only what compress made itself is listed. The key tells these
    directories from others of the name, and is never deleted.

    With --remove, the exit code is 1 where something had to be left, such as the results of a run that goes on.
    """
    from compress.api.cache import kept, remove
    from compress.reports.figures import size_text

    entries = kept(directories)
    not_removed = remove(entries) if removed else {}
    total = sum(thing.size_bytes for thing in entries)
    if as_json:
        described = [
            {**thing.to_dict(), **({"removed": _is_gone(thing.path)} if removed else {})} for thing in entries
        ]
        click.echo(json_text({"schema": 1, "kept": described, "bytes": total}, indent=2))
    else:
        _print(entries, removed)
        say(f"{len(entries)} kept, {size_text(total)}" if entries else "nothing is kept")
    for path, reason in not_removed.items():
        say(f"error: {path} is left: {reason}", err=True)
    return 1 if not_removed else 0


def _print(entries: Sequence[Kept], removed: bool) -> None:
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.tables import Name, plain_table, print_table
    from compress.reports.figures import size_text

    table = plain_table(headings=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column()
    for thing in entries:
        done = "removed " if removed and _is_gone(thing.path) else ""
        table.add_row(f"{done}{thing.kind}", size_text(thing.size_bytes), Name(str(thing.path)))
    if entries:
        print_table(PlainConsole(), table)


def _is_gone(path: Path) -> bool:
    return not path.exists()
