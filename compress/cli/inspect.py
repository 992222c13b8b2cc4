"""``compress inspect``: the layers of a network, and what bounds each one's time on a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.cli.model_argument import InputShape, OpenedModel, given_shapes, input_option, open_model
from compress.cli.options import network_options
from compress.cli.saying import say
from compress.cli.stdout import kept_for_the_result
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from compress.onnx_graph.layers import Layer
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
    from compress.onnx_graph.layers import layers
    from compress.onnx_graph.legality import refuse_illegal
    from compress.profiling.roofline import estimate
    from compress.target.target import load_target

    deployment = None if target is None else load_target(target)
    with kept_for_the_result():
        opened = open_model(
            model,
            inputs,
            factory=factory,
            trust_pickle=trust_pickle,
            weights=weights,
            batch_axis=batch_axis,
        )
        if opened.note is not None:
            say(f"note: {opened.note}", err=True)
        refuse_illegal(opened.model)
        size, shapes = given_shapes(opened.model, inputs, batch)
        found = layers(opened.model, size, shapes)
        estimated = None if deployment is None else estimate(found, deployment, size)
    if as_json:
        click.echo(json_text(_report(opened, size, found, estimated), indent=2))
    else:
        _print(opened, size, found, estimated)


def _report(
    opened: OpenedModel, batch: int, found: list[Layer], estimated: Estimate | None
) -> dict[str, Any]:
    from dataclasses import asdict

    from compress.onnx_graph.layers import totals
    from compress.onnx_graph.shapes import input_specs, output_specs

    report = {
        "model": opened.path,
        "format": opened.format,
        "sha256": opened.sha256,
        "inputs": [spec.to_dict() for spec in input_specs(opened.model)],
        "outputs": [spec.to_dict() for spec in output_specs(opened.model)],
        "batch": batch,
        "totals": asdict(totals(found)),
        "layers": [asdict(layer) for layer in found],
    }
    if estimated is not None:
        report["estimate"] = estimated.to_dict() | {"layers": [share.to_dict() for share in estimated.layers]}
    return report


def _print(opened: OpenedModel, batch: int, found: list[Layer], estimated: Estimate | None) -> None:
    import sys

    from compress.cli.plain_rich import PlainConsole
    from compress.onnx_graph.layers import totals
    from compress.onnx_graph.shapes import input_specs, output_specs

    # Wide where the output is not a terminal, so that no cell is cut in a file.
    console = PlainConsole(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
    console.print(
        f"{opened.path}  {opened.format}, sha256 {opened.sha256[:12]}", style="bold", soft_wrap=True
    )
    for title, specs in (("inputs", input_specs(opened.model)), ("outputs", output_specs(opened.model))):
        console.print(f"{title:8} {'; '.join(map(str, specs))}", soft_wrap=True)
    console.print(f"batch    {batch}")
    console.print()
    console.print(_table(found, estimated))
    if uncounted := totals(found).uncounted:
        console.print()
        console.print(f"Not counted, their cost is unknown: {', '.join(uncounted)}", soft_wrap=True)
    if estimated is not None:
        console.print()
        console.print(_summary(estimated), soft_wrap=True)


def _table(found: list[Layer], estimated: Estimate | None) -> Table:
    from compress.cli.plain_rich import PlainTable
    from compress.onnx_graph.layers import totals

    table = PlainTable(box=None, pad_edge=False, show_footer=True)
    whole = totals(found)
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
    for index, layer in enumerate(found):
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
