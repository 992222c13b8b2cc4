"""Printed lines of commands, in which no name can control the terminal or begin a new line."""

from __future__ import annotations

import click

from compress.core.plain_text import plain


def say(line: object = "", *, err: bool = False) -> None:
    """Print one line, to standard error where ``err`` says so."""
    click.echo(plain(line), err=err)
