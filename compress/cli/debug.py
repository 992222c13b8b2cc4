"""``compress debug``: where a quantized network departs from the float one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.api.build_options import DebugOptions
from compress.cli.generated import GroupedCommand
from compress.cli.model_argument import build_options
from compress.cli.saying import say, say_wrapped
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.api.debug import DebugResult
    from compress.quantization.difference import TensorDifference


@click.command(cls=GroupedCommand)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@build_options(DebugOptions)
@click.option("--json", "as_json", is_flag=True, help="Print every tensor as one JSON object.")
def debug(model: Path, other: Path, options: dict[str, Any], as_json: bool) -> int:
    """Compare every tensor of MODEL, in float, with that of OTHER, a quantized form of it.

    \b
    Example:
      compress debug model.onnx model.int8.onnx --data val.npz

    For each tensor that has the same name in both, the signal-to-noise ratio in dB: "own", where its layer is fed the
    float network's tensors, tells how much noise the layer adds; "in all", what arrives there in the running network.
    MODEL and OTHER are networks' files, ONNX files or bundles.

    \b
    Exit codes: 0 compared, 2 usage, 5 internal.
    """
    from compress.api.debug import debug as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = run(model, other, reporter=reporter, **options)
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
    else:
        _tell(result, options.get("check"))
    return 0


def _tell(result: DebugResult, check: str | None) -> None:
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.tables import Name, plain_table, print_table
    from compress.core.plain_text import plain

    table = plain_table()
    table.add_column("node")
    table.add_column("operator", no_wrap=True)
    table.add_column("own, dB", justify="right", no_wrap=True)
    table.add_column("in all, dB", justify="right", no_wrap=True)
    for difference in result.tensors:
        table.add_row(
            Name(difference.node), plain(difference.operator), _db(difference.own_db), _db(difference.all_db)
        )
    print_table(PlainConsole(), table)
    say()
    worst, first = result.worst, result.first_divergence
    if all(difference.own_db == difference.all_db == float("inf") for difference in result.tensors):
        say_wrapped(f"no tensor differs, on {result.samples} samples")
    elif worst is not None:
        say_wrapped(f"most noise of its own: {_named(worst)}, {_db(worst.own_db)} dB")
    if first is None:
        say_wrapped(f"no tensor is below {result.threshold_db:g} dB, on {result.samples} samples")
    else:
        where = f"{_named(first)}, {_db(first.all_db)} dB"
        say_wrapped(f"first below {result.threshold_db:g} dB, on {result.samples} samples: {where}")
    if result.reduced is not None:
        nodes = ", ".join(result.reduced.nodes)
        say_wrapped(f"smallest part that shows the fault, of {result.reduced.tries} tried: {nodes}")
        say(f"wrote {result.part}")
    elif check is not None:
        say_wrapped(f"the whole network shows no fault: '{check}' ends with 0")


def _named(difference: TensorDifference) -> str:
    return f"{difference.node} ({difference.operator})"


def _db(value: Any) -> str:
    """Format a ratio; a tensor without any difference has an infinite one."""
    return "∞" if value == float("inf") else "-∞" if value == float("-inf") else f"{value:.1f}"
