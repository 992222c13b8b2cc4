"""``compress inspect``: the layers of a network, and what bounds each one's time on a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compress.api.opened_model import InputShape
from compress.cli.model_argument import input_option
from compress.cli.options import network_options
from compress.cli.saying import say
from compress.cli.stdout import kept_for_the_result
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from compress.api.inspect import InspectResult
    from compress.profiling.roofline import Estimate


@click.command(cls=WaitedFor)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--target",
    help="Target, by name or TOML file, to estimate each layer's time and its bound for. [default: no estimate]",
)
@click.option("--batch", type=click.IntRange(1), help="Batch size, in samples. [default: 1]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@input_option
@network_options
def inspect(
    model: Path,
    target: str | None,
    batch: int | None,
    as_json: bool,
    inputs: tuple[InputShape, ...],
    factory: str | None,
    trust_pickle: bool,
    weights: str | None,
    batch_axis: dict[str, int] | None,
) -> None:
    """Show the layers of MODEL, a network's file or a bundle: shapes, parameters, MACs, bytes and precision.

    \b
    Example:
      compress inspect model.onnx --shape 1x3x224x224 --target jetson-orin-nano-super

    Operators are grouped as an engine runs them. With --target, a roofline estimates each layer's time; that is never
    a measurement.
    """
    from compress.api.inspect import inspect as run

    with kept_for_the_result():
        found = run(
            model,
            target=target,
            batch=batch,
            shape=inputs,
            factory=factory,
            trust_pickle=trust_pickle,
            weights=weights,
            batch_axis=batch_axis,
        )
    if found.note is not None:
        say(f"note: {found.note}", err=True)
    if as_json:
        click.echo(json_text(found.to_dict(), indent=2))
    else:
        _print(found)


def _print(found: InspectResult) -> None:
    import sys

    from compress.cli.plain_rich import PlainConsole

    # Wide where the output is not a terminal, so that no cell is cut in a file.
    console = PlainConsole(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
    console.print(f"{found.model}  {found.format}, sha256 {found.sha256[:12]}", style="bold", soft_wrap=True)
    for title, specs in (("inputs", found.inputs), ("outputs", found.outputs)):
        console.print(f"{title:8} {'; '.join(map(str, specs))}", soft_wrap=True)
    console.print(f"batch    {found.batch}")
    console.print()
    console.print(_table(found))
    if uncounted := found.totals.uncounted:
        console.print()
        console.print(f"Not counted, their cost is unknown: {', '.join(uncounted)}", soft_wrap=True)
    if found.estimate is not None:
        console.print()
        console.print(_summary(found.estimate), soft_wrap=True)


def _table(found: InspectResult) -> Table:
    from compress.cli.plain_rich import PlainTable

    table = PlainTable(box=None, pad_edge=False, show_footer=True)
    whole, estimated = found.totals, found.estimate
    table.add_column("layer", f"{whole.layers} layers", overflow="fold", max_width=40)
    table.add_column("operators", overflow="fold")
    table.add_column("output", overflow="fold")
    table.add_column("params", _count(whole.parameters), justify="right", no_wrap=True)
    table.add_column("MACs", _count(whole.macs), justify="right", no_wrap=True)
    table.add_column(
        "bytes", _bytes(whole.weight_bytes + whole.activation_bytes), justify="right", no_wrap=True
    )
    table.add_column("precision", no_wrap=True)
    if estimated is not None:
        table.add_column("estimated", _time(estimated.total_ms), justify="right", no_wrap=True)
        table.add_column("bound", no_wrap=True)
    for index, layer in enumerate(found.layers):
        cells = [
            layer.name,
            layer.label,
            " ".join("×".join(map(str, shape)) for shape in layer.outputs),
            _count(layer.parameters),
            _count(layer.macs) if layer.counted else "?",
            _bytes(layer.bytes),
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


def _bytes(number: int) -> str:
    """Format a number of bytes in units of 1024."""
    value = float(number)
    for unit in ("B", "KiB", "MiB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def _time(milliseconds: float) -> str:
    return f"{1000 * milliseconds:.3g} µs" if milliseconds < 0.9995 else f"{milliseconds:.3g} ms"
