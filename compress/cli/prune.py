"""``compress prune``: remove channels, heads and hidden units of a network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from compress.api.options import PruneOptions
from compress.cli.generated import GroupedCommand
from compress.cli.options import verb_options
from compress.cli.saying import say
from compress.cli.torchrun import left_to_the_first
from compress.core.json_text import json_text
from compress.core.ranks import is_first

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compress.api.prune import PruneResult
    from compress.records.technique_reports import PruneReport

_MOST_NOTES = 3


@click.command(
    cls=GroupedCommand,
    resumes=lambda _: (
        "the same command takes over the times that were measured, and a training at its last checkpoint"
    ),
)
@click.argument("model", type=click.Path())
@verb_options(PruneOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def prune(model: str, options: dict[str, Any], as_json: bool) -> int:
    """Make MODEL smaller and faster by removing channels, heads and hidden units, and write it.

    \b
    Example:
      compress prune model.pt2 --data val/ --train-data train/ --latency-share 0.5

    MODEL is a torch.export .pt2, TorchScript, a state dict with --factory, a Hugging Face directory, or timm:NAME. It
    chooses widths at which the target really gets faster, by timing its layers. `compress optimize` reads the .pt2 that
    is written.

    Measured times and trained weights are kept in OUT.partial until OUT is written. After an interruption, the same
    command takes them over, and a training goes on at its last checkpoint. Under torchrun (`torchrun
    --nproc-per-node 2 -m compress prune ...`) the first process prunes and all train together.

    \b
    Exit codes: 0 written, 2 usage, 4 target or another process not available, 5 internal.
    """
    from compress.api.prune import prune as run
    from compress.cli.plain_rich import PlainConsole
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
    else:
        for line in _lines(result):
            say(line)
    return 0


def _lines(result: PruneResult) -> Iterator[str]:
    from compress.cli.figure_text import accuracy_text, drop_text

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
    report: PruneReport = result.reports["prune"]
    if margin := report.get("margin"):
        yield margin["note"]
    yield from _note_lines(report.get("notes", ()))
    yield from result.notes
    yield from (f"warning: {warning}" for warning in result.warnings)


def _note_lines(notes: Sequence[str]) -> Iterator[str]:
    """Return the lines that explain why a network may have lost little."""
    for note in notes[:_MOST_NOTES]:
        yield f"note: {note}"
    if len(notes) > _MOST_NOTES:
        yield f"note: {len(notes) - _MOST_NOTES} more like these, in --json"


def _latency_line(result: PruneResult) -> str:
    before, after = result.latency
    timed = result.recipe.steps[0].settings.get("timing_precision", "fp32")
    precision = "" if timed == "fp32" else f" in {timed}"
    # Of calls that alternate, the ratio tells more than two times that were taken one after the other.
    sentence = (
        f"latency on {result.target}{precision}: {after.ratio:.2f}× the original's {before.p50_ms:.3g} ms"
    )
    if after.ratio_interval is not None:
        sentence += f", {after.ratio_interval.low:.2f} to {after.ratio_interval.high:.2f}"
    rounds: list[PruneReport] = [
        report for name, report in result.reports.items() if name.partition("-")[0] == "prune"
    ]
    shares = [report["latency"]["predicted"] for report in rounds if "latency" in report]
    foretold = f"; {math.prod(shares):.2f}× predicted from its layers" if shares else ""
    source = " (estimated)" if after.source == "estimated" else ""
    return f"{sentence}{source}{foretold}"
