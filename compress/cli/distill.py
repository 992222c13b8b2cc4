"""``compress distill``: train a student, without search and without timing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from compress.api.student_options import DistillOptions
from compress.cli.generated import GroupedCommand
from compress.cli.options import verb_options
from compress.cli.saying import say
from compress.cli.student_widths import choose_and_print, width_options
from compress.cli.torchrun import left_to_the_first
from compress.core.json_text import json_text
from compress.core.ranks import is_first

if TYPE_CHECKING:
    from rich.table import Table

    from compress.api.distill import DistillResult


def _resumes(options: dict[str, Any]) -> str | None:
    if options.get("widths"):
        return None
    return "the same command goes on with the training at its last checkpoint"


@click.command(cls=GroupedCommand, resumes=_resumes)
@click.argument("model", type=click.Path())
@verb_options(DistillOptions)
@width_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def distill(model: str, options: dict[str, Any], choice: dict[str, Any] | None, as_json: bool) -> int:
    """Train a student to answer as MODEL does, and write it.

    \b
    Example:
      compress distill model.pt2 --student package.module:build --data val/ --train-data train/

    MODEL is a network's file, as for `compress optimize`. An interrupted training is kept in OUT.partial, and the same
    command goes on at its last checkpoint; with --widths, everything is trained anew. Under torchrun (`torchrun
    --nproc-per-node 2 -m compress distill ...`) all processes train together.

    \b
    Exit codes: 0 written, 1 no width keeps the margin, 2 usage, 4 another process has ended, 5 internal.
    """
    if choice is not None:
        return choose_and_print(model, {**options, **choice}, as_json=as_json)

    from compress.api.distill import distill as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.tables import print_table
    from compress.cli.terminal import TerminalReporter
    from compress.core.progress import Reporter

    if not is_first():
        with left_to_the_first():
            run(model, reporter=Reporter(), **options)
        return 0
    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = run(model, reporter=reporter, **options)
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
        return 0
    print_table(PlainConsole(), _table(result))
    for line in _lines(result):
        say(line)
    return 0


def _table(result: DistillResult) -> Table:
    from compress.cli.tables import Name, plain_table
    from compress.reports.figures import accuracy_figure, drop_figure, drop_unit

    table = plain_table()
    table.add_column("network")
    unit = drop_unit(network.accuracy.drop for network in result.networks)
    for heading in (result.networks[0].accuracy.metric, f"drop, {unit}", "parameters", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for network in result.networks:
        drop = network.accuracy.drop
        table.add_row(
            Name(network.name),
            str(accuracy_figure(network.accuracy)),
            "" if drop is None else str(drop_figure(drop)),
            f"{network.parameters:,}",
            "?" if network.macs is None else f"{network.macs:,}",
        )
    return table


def _lines(result: DistillResult) -> Iterator[str]:
    training = result.report["training"]
    epochs, best = len(training["losses"]), training["best_epoch"]
    losses = training["held_out_losses"]
    yield (
        f"{result.path}: held-out loss {losses[0]:.3g} → {losses[best]:.3g}, best of {epochs} epochs: {best}; "
        f"{training['samples']} samples trained, {training['held_out']} judged"
    )
    if training["stopped"] == "diverged":
        yield "training diverged, and the best weights before that were kept: lower --learning-rate"
    elif best == 0:
        yield "no epoch was better than the beginning: raise --epochs, or change --learning-rate"
    yield from result.notes
