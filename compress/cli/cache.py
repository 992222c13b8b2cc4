"""``compress cache``: what compress keeps on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from compress.cli.saying import say
from compress.core.json_text import json_text


@click.command()
@click.argument("directories", metavar="[DIRECTORY]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--remove", "removed", is_flag=True, help="Delete what is listed, but for the key.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as one JSON object.")
def cache(directories: tuple[Path, ...], removed: bool, as_json: bool) -> int:
    """List what compress keeps on this machine, with sizes: engines, results of interrupted runs, the key.

    \b
    Example:
      compress cache --remove

    Engines, timing caches and compiled programs lie in the user's cache directory. Results of interrupted runs
    (OUT.partial) are looked for in each DIRECTORY and below, by default in the working directory; without them a run
    begins anew. Only what compress made itself is listed. The key tells these directories from others of the name, and
    is never deleted.

    With --remove, the exit code is 1 where something had to be left, such as the results of a run that goes on.
    """
    from compress.api.cache import kept, remove

    found = kept(directories)
    left = remove(found) if removed else {}
    total = sum(thing.size_bytes for thing in found)
    if as_json:
        told = [
            {**thing.to_dict(), **({"removed": _is_gone(thing.path)} if removed else {})} for thing in found
        ]
        click.echo(json_text({"kept": told, "bytes": total}, indent=2))
    else:
        for thing in found:
            done = "removed " if removed and _is_gone(thing.path) else ""
            say(f"{done}{thing.kind:12}  {_size(thing.size_bytes):>9}  {thing.path}")
        say(f"{len(found)} kept, {_size(total)}" if found else "nothing is kept")
    for path, reason in left.items():
        say(f"error: {path} is left: {reason}", err=True)
    return 1 if left else 0


def _is_gone(path: Path) -> bool:
    return not path.exists()


def _size(count: int) -> str:
    """Format a number of bytes in units of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"
