"""``compress inspect``: the layers of a network, and what bounds each one's time on a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.api.build_options import InspectOptions
from compress.cli.generated import GroupedCommand
from compress.cli.model_argument import build_options
from compress.cli.saying import say, say_wrapped, tell
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from compress.api.inspect import InspectResult
    from compress.profiling.roofline import Estimate


@click.command(cls=GroupedCommand)
@click.argument("model", type=click.Path(path_type=Path))
@build_options(InspectOptions)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def inspect(model: Path, options: dict[str, Any], as_json: bool) -> None:
    """Show the layers of MODEL, a network's file or a bundle: shapes, parameters, MACs, bytes and precision.

    \b
    Example:
      compress inspect model.onnx --shape 1x3x224x224 --target jetson-orin-nano-super

    Operators are grouped as an engine runs them. With --target, a roofline estimates each layer's time; that is never
    a measurement.
    """
    from compress.api.inspect import inspect as run

    with kept_for_the_result():
        inspected = run(model, **options)
    if inspected.note is not None:
        tell(f"note: {inspected.note}")
    if as_json:
        click.echo(json_text(inspected.to_dict(), indent=2))
    else:
        _print(inspected)


def _print(result: InspectResult) -> None:
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.tables import print_table

    console = PlainConsole(highlight=False, markup=False)
    console.print(
        f"{result.model}  {result.format}, sha256 {result.sha256[:12]}", style="bold", soft_wrap=True
    )
    for title, specs in (("inputs", result.inputs), ("outputs", result.outputs)):
        console.print(f"{title:8} {'; '.join(map(str, specs))}", soft_wrap=True)
    console.print(f"batch    {result.batch}")
    console.print()
    print_table(console, _table(result), optional=("params", "output", "operators", "bytes"))
    if uncounted := result.totals.uncounted:
        say()
        say_wrapped(f"Not counted, their cost is unknown: {', '.join(uncounted)}", indent="")
    if result.estimate is not None:
        say()
        say_wrapped(_summary(result.estimate), indent="")


def _table(result: InspectResult) -> Table:
    from compress.cli.tables import Name, plain_table
    from compress.reports.figures import size_text

    table = plain_table()
    table.show_footer = True
    totals, estimated = result.totals, result.estimate
    table.add_column("layer", f"{totals.layers} layers", overflow="fold")
    table.add_column("operators", overflow="fold")
    table.add_column("output", overflow="fold")
    table.add_column("params", _count(totals.parameters), justify="right", no_wrap=True)
    table.add_column("MACs", _count(totals.macs), justify="right", no_wrap=True)
    table.add_column(
        "bytes", size_text(totals.weight_bytes + totals.activation_bytes), justify="right", no_wrap=True
    )
    table.add_column("precision", no_wrap=True)
    if estimated is not None:
        table.add_column("estimated", _time(estimated.total_ms), justify="right", no_wrap=True)
        table.add_column("bound", no_wrap=True)
    for index, layer in enumerate(result.layers):
        cells: list[RenderableType] = [
            Name(layer.name),
            Name(layer.label),
            " ".join("×".join(map(str, shape)) for shape in layer.outputs),
            _count(layer.parameters),
            _count(layer.macs) if layer.counted else "?",
            size_text(layer.bytes),
            layer.precision,
        ]
        if estimated is not None:
            share = estimated.layers[index]
            if layer.macs and share.precision != layer.precision:
                cells[-1] = f"{layer.precision} as {share.precision}"
            cells += [_time(share.ms), share.bound]
        table.add_row(*cells)
    return table


def _summary(estimated: Estimate) -> str:
    spent = sorted(estimated.ms_by_bound().items(), key=lambda item: -item[1])
    shares = ", ".join(f"{100 * ms / estimated.total_ms:.0f} % {bound}" for bound, ms in spent if ms)
    where = f"on {estimated.target} at batch {estimated.batch}, bound by: {shares}"
    if estimated.interval_ms is None:
        return (
            f"ESTIMATED {_time(estimated.total_ms)} {where}. This is only what was counted: the network takes longer, "
            f"by an unknown amount, for {', '.join(estimated.uncounted)}. A roofline's estimate, not a measurement."
        )
    low, high = estimated.interval_ms
    return (
        f"ESTIMATED {_time(estimated.total_ms)} ({_time(low)} to {_time(high)}) {where}. A roofline's estimate, not a "
        f"measurement; {100 * estimated.level:.0f} % of networks are expected inside the interval ({estimated.basis})."
    )


def _count(number: int) -> str:
    """Format a number with k, M, G or T for powers of 1000."""
    value = float(number)
    for unit in ("", " k", " M", " G"):
        if value < 999.5:
            return f"{value:.3g}{unit}" if number else "–"
        value /= 1000
    return f"{value:.3g} T"


def _time(milliseconds: float) -> str:
    return f"{1000 * milliseconds:.3g} µs" if milliseconds < 0.9995 else f"{milliseconds:.3g} ms"
