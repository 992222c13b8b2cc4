"""Printed lines of commands, in which no name can control the terminal or begin a new line."""

from __future__ import annotations

import os
import sys
import textwrap
from typing import TextIO

import click

from compress.cli.loudness import Loudness, loudness
from compress.core.plain_text import plain


def say(line: object = "", *, err: bool = False) -> None:
    """Print one line, to standard error where ``err`` says so."""
    click.echo(plain(line), err=err)


def tell(line: object) -> None:
    """Print one line that is not the result to standard error, unless ``--quiet`` was given."""
    if loudness() is not Loudness.QUIET:
        say(line, err=True)


def columns_of(stream: TextIO) -> int:
    """Return the characters of a line: those of ``COLUMNS``, else the terminal's; 80 where neither is known."""
    try:
        return max(int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns), 20)
    except (OSError, ValueError):
        return 80


def say_wrapped(line: object, *, indent: str = "  ", err: bool = False) -> None:
    """Print one line; on a terminal that is narrower, continue it between words, indented.

    Args:
        line: Text to print.
        indent: Beginning of each line but the first.
        err: Whether to print to standard error.
    """
    text, stream = plain(line), sys.stderr if err else sys.stdout
    if not stream.isatty():
        say(text, err=err)
        return
    wrapped = textwrap.wrap(
        text, columns_of(stream), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    for wrapped_line in wrapped or [""]:
        say(wrapped_line, err=err)
