"""``compress prune``: one step alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from compress.cli.options import (
    Seconds,
    data_options,
    deployment_options,
    network_options,
    state_option,
    training_options,
)
from compress.cli.saying import say
from compress.cli.torchrun import is_first, left_to_the_first
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compress.api.prune import Pruned

_MOST_NOTES = 3


@click.command(cls=WaitedFor)
@click.argument("model", type=click.Path())
@deployment_options
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    default="pruned.pt2",
    show_default=True,
    help="A .pt2 or .onnx file.",
)
@click.option(
    "--latency",
    type=float,
    help="Share of the unpruned latency to reach on the target. [default: 0.5 with --train-data]",
)
@click.option("--ratio", type=float, help="Share of all channels, heads and hidden units to remove instead.")
@click.option(
    "--max-drop",
    type=float,
    help="Remove what costs at most so many points, untrained, instead. [default: 1 without --train-data]",
)
@click.option(
    "--importance",
    type=click.Choice(["magnitude", "batch_norm_scale", "taylor", "hessian_diagonal"]),
    help="What is judged by what stays. [default: hessian_diagonal]",
)
@click.option("--per-layer", is_flag=True, help="Every layer loses --ratio; else all compete.")
@click.option("--keep", multiple=True, metavar="LAYER", help="Keep its outputs; may be given again.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="What it will run in: widths are fastest at other steps in each. Not with --ratio.",
)
@click.option(
    "--train-data",
    help="Data to train on after each pruning, as the options from --epochs to --features say; labels are not needed.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Prune and train in so many rounds.",
)
@training_options
@click.option("--threads", type=click.IntRange(1), help="Threads of the runtime. [default: all cores]")
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=Seconds(),
    help="Of timing the result against the original.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@data_options
@network_options
@state_option
def prune(model: str, as_json: bool, **settings: Any) -> int:
    """Make MODEL smaller and faster by removing channels, heads and hidden units, and write it.

    MODEL is a torch.export .pt2, TorchScript, or a state dict with --factory. Widths are those at which the target
    really gets faster, by timing its layers. `compress optimize` reads the .pt2 that is written.

    What was measured and trained is kept in OUT.partial until OUT is written: after an interruption the same command
    goes on. Under torchrun (`torchrun --nproc-per-node 2 -m compress prune ...`) the first process prunes and all
    train together.

    \b
    Exit codes: 0 written, 2 usage, 4 target or another process not available, 5 internal.
    """
    from compress.api.prune import prune as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter
    from compress.core.progress import Reporter

    if not is_first():
        with left_to_the_first():
            run(model, reporter=Reporter(), **settings)
        return 0
    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = run(model, reporter=reporter, **settings)
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
    else:
        for line in _lines(result):
            say(line)
    for warning in result.warnings:
        say(f"warning: {warning}", err=True)
    return 0


def _lines(result: Pruned) -> Iterator[str]:
    from compress.cli.terminal import accuracy_text, drop_text

    before, after = result.networks
    yield f"{result.path}"
    if before.macs and after.macs:
        yield f"MACs: {before.macs:,} → {after.macs:,} ({after.macs / before.macs:.2f}×)"
    share = after.parameters / before.parameters
    yield f"parameters: {before.parameters:,} → {after.parameters:,} ({share:.2f}×)"
    yield _latency_line(result)
    metric = after.accuracy.metric
    yield f"{metric}: {accuracy_text(before.accuracy)} → {accuracy_text(after.accuracy)}"
    if after.accuracy.drop is not None:
        yield drop_text(after.accuracy.drop)
    yield f"  on {after.accuracy.samples} samples"
    if margin := result.reports["prune"].get("margin"):
        yield f"{margin['note']}"
    yield from _note_lines(result.reports["prune"]["notes"])


def _note_lines(notes: Sequence[str]) -> Iterator[str]:
    """Why a network may have lost little."""
    for note in notes[:_MOST_NOTES]:
        yield f"note: {note}"
    if len(notes) > _MOST_NOTES:
        yield f"note: {len(notes) - _MOST_NOTES} more like these, in --json"


def _latency_line(result: Pruned) -> str:
    before, after = result.latency
    precision = " in int8" if result.recipe.steps[0].settings["precision"] == "int8" else ""
    # Of calls that alternate, the ratio tells more than two times that were taken one after the other.
    told = f"latency on {result.target}{precision}: {after.ratio:.2f}× the original's {before.p50_ms:.3g} ms"
    if after.ratio_interval is not None:
        told += f", {after.ratio_interval.low:.2f} to {after.ratio_interval.high:.2f}"
    rounds = [report for name, report in result.reports.items() if name.partition("-")[0] == "prune"]
    shares = [report["latency"]["predicted"] for report in rounds if "latency" in report]
    foretold = f"; {math.prod(shares):.2f}× predicted from its layers" if shares else ""
    source = " (estimated)" if after.source == "estimated" else ""
    return f"{told}{source}{foretold}"
