"""``compress demo``: optimize a small network that is trained on the spot."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from compress.cli.command import Command
from compress.cli.saying import say


@click.command(cls=Command)
@click.option(
    "--out",
    default="demo",
    show_default=True,
    type=click.Path(),
    help="Directory for the demonstration's files.",
)
@click.option(
    "--target",
    default="cpu",
    show_default=True,
    help="Name from `compress targets`, or a target's TOML file.",
)
@click.pass_context
def demo(ctx: click.Context, out: str, target: str) -> int:
    """Train a small network on scikit-learn's digits, then optimize it with the command that is printed.

    \b
    Example:
      compress demo --out demo
    """
    from compress.api.demo import prepare_demo
    from compress.cli.optimize import optimize
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        files = prepare_demo(Path(out), reporter)
    arguments = [
        str(files.network),
        *("--target", target),
        *("--data", str(files.evaluation)),
        *("--train-data", str(files.training)),
        *("--out", str(Path(out) / "build")),
    ]
    say("$ compress optimize " + shlex.join(arguments))
    code: int = optimize.main(arguments, prog_name="compress optimize", standalone_mode=False)
    return code
