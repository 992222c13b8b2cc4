"""Amount of text that a command prints besides its result: the flags ``-q`` and ``-v``, which every command has."""

from __future__ import annotations

from enum import Enum

import click

_KEY = "compress.loudness"


class Loudness(Enum):
    """Amount of text on standard error."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


def loudness() -> Loudness:
    """Return what the running command was told; normal outside of a command."""
    context = click.get_current_context(silent=True)
    level = None if context is None else context.meta.get(_KEY)
    return level if isinstance(level, Loudness) else Loudness.NORMAL


def loudness_options() -> list[click.Option]:
    """Return the flags ``-q`` and ``-v``; their values reach no command, but :func:`loudness`."""
    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_taken(Loudness.QUIET),
            help="Print the result alone, without progress and notes; warnings and errors are still told.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_taken(Loudness.VERBOSE),
            help="Print each stage of the work in a line of its own, and first the versions of what does it.",
        ),
    ]


def _taken(meant: Loudness) -> object:
    def callback(context: click.Context, parameter: click.Parameter, is_given: bool) -> None:
        if not is_given:
            return
        before = context.meta.setdefault(_KEY, meant)
        if before is not meant:
            raise click.UsageError("--quiet and --verbose exclude each other", context)

    return callback
