"""What commands say: lines in which no name steers the terminal or begins a line of its own."""

from __future__ import annotations

import click

from compress.core.plain_text import plain


def say(line: object = "", *, err: bool = False) -> None:
    """Print one line, to standard error where ``err`` says so."""
    click.echo(plain(line), err=err)
