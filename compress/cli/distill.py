"""``compress distill``: one step alone, without search and without timing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from compress.cli.options import data_options, network_options, state_option, training_options
from compress.cli.saying import say
from compress.cli.student_widths import choose_and_print, width_options
from compress.cli.torchrun import is_first, left_to_the_first
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from compress.api.distill import Distilled


@click.command(cls=WaitedFor)
@click.argument("model", type=click.Path())
@click.option(
    "--student",
    required=True,
    metavar="PACKAGE.MODULE:CALLABLE|FILE",
    help="What is trained: a callable that builds a module without arguments, or a network's file.",
)
@click.option(
    "--data", required=True, help="Evaluation data: .npz, folder of class folders, or module:callable."
)
@click.option(
    "--train-data", required=True, help="Data to train on, of any such kind; labels are not needed."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    default="student.pt2",
    show_default=True,
    help="A .pt2 or .onnx file.",
)
@training_options
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Of the training; auto is mixed on a GPU and float32 on a CPU. [default: auto]",
)
@click.option("--seed", default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@data_options
@network_options
@state_option
@width_options
def distill(model: str, as_json: bool, choice: dict[str, Any] | None, **settings: Any) -> int:
    """Train a student to do what MODEL does, and write it.

    MODEL is what `compress optimize` takes. An interrupted training is kept in OUT.partial: the same command goes on.
    Under torchrun (`torchrun --nproc-per-node 2 -m compress distill ...`) all processes train together.

    \b
    Exit codes: 0 written, 2 usage, 4 another process has ended, 5 internal.
    """
    if choice is not None:
        return choose_and_print(model, choice, settings, as_json=as_json)

    from compress.api.distill import distill as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter, print_whole
    from compress.core.progress import Reporter

    if not is_first():
        with left_to_the_first():
            run(model, reporter=Reporter(), **settings)
        return 0
    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = run(model, reporter=reporter, **settings)
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
        return 0
    print_whole(PlainConsole(), _table(result))
    for line in _lines(result):
        say(line)
    return 0


def _table(result: Distilled) -> Table:
    from compress.cli.terminal import plain_table
    from compress.reports.figures import accuracy_figure, drop_figure

    table = plain_table()
    table.add_column("network", no_wrap=True)
    for heading in (result.networks[0].accuracy.metric, "drop (points)", "parameters", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for network in result.networks:
        drop = network.accuracy.drop
        table.add_row(
            network.name,
            str(accuracy_figure(network.accuracy)),
            "" if drop is None else str(drop_figure(drop)),
            f"{network.parameters:,}",
            "?" if network.macs is None else f"{network.macs:,}",
        )
    return table


def _lines(result: Distilled) -> Iterator[str]:
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
