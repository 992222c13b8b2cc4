"""``compress targets``: the devices that a network can be built for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from compress.cli.command import Group
from compress.cli.saying import say, say_wrapped, tell
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from compress.cli.plain_rich import PlainConsole
    from compress.target.target import QuantizationFlavour, Target

_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(cls=Group, invoke_without_command=True)
@_JSON
@click.pass_context
def targets(context: click.Context, as_json: bool) -> None:
    """List the known targets, or explain one.

    \b
    Example:
      compress targets show jetson-orin-nano-super
    """
    if context.invoked_subcommand is not None:
        return
    from compress.target.target import TARGETS, list_targets

    listed = list_targets()
    if as_json:
        _print_json([target.to_dict() for target in listed])
    else:
        _print_list(listed)
    names = {target.name for target in listed}
    for entry in TARGETS.added():
        if entry.name not in names:
            tell(f"left out: {entry.name}, of {entry.origin}; see `compress plugins`")


@targets.command()
@click.argument("name", metavar="NAME")
@_JSON
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> None:
    """Explain the target NAME, or the one in the file NAME.toml.

    \b
    Example:
      compress targets show cpu
    """
    from compress.target.target import load_target

    target = load_target(name)
    if as_json or (context.parent is not None and context.parent.params.get("as_json")):
        _print_json(target.to_dict())
    else:
        _print_target(target)


def _print_json(value: object) -> None:

    click.echo(json_text(value, indent=2))


def _console() -> PlainConsole:
    from compress.cli.plain_rich import PlainConsole

    return PlainConsole(highlight=False, markup=False)


def _table(*columns: tuple[str, str]) -> Table:
    """Return a table; each column has a heading and ``left``, ``right`` or ``wrap``."""
    from compress.cli.tables import plain_table

    table = plain_table(headings=any(heading for heading, _ in columns))
    for heading, layout in columns:
        table.add_column(heading, justify="right" if layout == "right" else "left", no_wrap=layout != "wrap")
    return table


def _print_list(listed: list[Target]) -> None:
    table = _table(
        ("Target", "left"),
        ("Also", "wrap"),
        ("GB", "right"),
        ("GB/s", "right"),
        ("int8 TOP/s", "right"),
        ("Runs with", "left"),
    )
    for target in listed:
        place = "this machine" if target.here else "" if target.memory_gb else "not on this machine"
        table.add_row(
            target.name,
            ", ".join(note for note in (*target.aliases, place) if note),
            f"{target.memory_gb:g}" if target.memory_gb else "–",
            f"{target.bandwidth_gb_s:g}" if target.bandwidth_gb_s else "–",
            f"{target.peaks.int8_tops:.4g}" if target.peaks.int8_tops else "–",
            _title(target),
        )
    from compress.cli.tables import print_table

    console = _console()
    print_table(console, table, optional=("Also", "GB"))
    say()
    say_wrapped(
        "`compress targets show NAME` explains one. Your own board: --target path/to/board.toml", indent=""
    )


def _print_target(target: Target) -> None:
    from compress.cli.tables import print_table

    console = _console()
    console.print(" = ".join((target.name, *target.aliases)), style="bold", soft_wrap=True)
    say_wrapped(target.description, indent="")
    say()
    print_table(console, _figures(target), optional=("Source",))
    say()
    say_wrapped(
        "≈ is derived, assumed or recalled, not published. Peaks are dense; a multiply-add is two "
        "operations. A layer with fewer operations per byte than the ridge point is limited by memory, not by "
        "arithmetic.",
        indent="",
    )
    say()
    words = _table(("", "left"), ("", "wrap"))
    words.add_row("Runs with", f"{_backend(target)}{_details(target)}")
    words.add_row(
        "Worth a try", ", ".join(target.precisions) + (", 2:4 sparsity" if target.sparsity_2_4 else "")
    )
    words.add_row("int8 Q/DQ", _flavour(target.quantization))
    for name, further in target.further_backends.items():
        flavour = f"; {_flavour(further.quantization)}" if "int8" in further.precisions else ""
        words.add_row(f"Also {name}", f"{', '.join(further.precisions)}{flavour}")
    for name, precisions in target.further_providers.items():
        words.add_row(f"Also {name.removesuffix('ExecutionProvider')}", ", ".join(precisions))
    words.add_row("Timed at", f"batch {target.batch_sizes[0]} and {target.batch_sizes[1]}")
    words.add_row("Here", _here(target))
    print_table(console, words)


def _figures(target: Target) -> Table:
    """Return a table of the figures, each with its ridge point and its source."""
    from compress.target.target import PEAK_OF

    table = _table(("Figure", "left"), ("", "right"), ("Ridge point", "right"), ("Source", "wrap"))

    def row(label: str, value: str, key: str, ridge: float | None = None) -> None:
        estimated = "≈ " if key in target.estimated_fields else ""
        ridge_point = f"{ridge:.0f} op/byte" if ridge else ""
        table.add_row(label, estimated + value, ridge_point, target.sources.get(key, ""))

    row("Memory", f"{target.memory_gb:g} GB", "memory_gb")
    row("Bandwidth", f"{target.bandwidth_gb_s:g} GB/s", "bandwidth_gb_s")
    for precision, key in PEAK_OF.items():
        if (peak := target.peaks.at(precision)) is not None:
            unit = "TOP/s" if precision == "int8" else "TFLOP/s"
            row(f"Peak {precision}", f"{peak:.4g} {unit}", key, target.ridge_point(precision))
    if target.peaks.int8_dla_tops is not None:
        row("Peak int8, DLA", f"{target.peaks.int8_dla_tops:g} TOP/s", "int8_dla_tops")
    if target.power_w is not None:
        low, high = target.power_w
        row("Power", f"{high:g} W" if low == high else f"{low:g}–{high:g} W", "power_max_w")
    if target.price is not None:
        price = target.price
        for unit, money in (("hour", price.per_hour), ("kWh", price.per_kwh)):
            if money is not None:
                row(
                    f"Price of {'an' if unit == 'hour' else 'a'} {unit}",
                    f"{money:g} {price.currency}",
                    "price",
                )
    row("Cost of a kernel", f"{target.launch_overhead_us:g} µs", "launch_overhead_us")
    if target.opset_max is not None:
        row("Newest opset", str(target.opset_max), "opset_max")
    return table


def _backend(target: Target) -> str:
    provider = (target.provider or "").removesuffix("ExecutionProvider")
    return f"{_title(target)}, {provider}" if provider else _title(target)


def _title(target: Target) -> str:
    """Return the name that people use for the target's back end."""
    from compress.backends import load_backend

    backend = load_backend(target.backend)
    return backend.title or backend.name


def _details(target: Target) -> str:
    """Return releases and extensions as far as known, each after a comma."""
    release = f" {target.tensorrt}" if target.tensorrt else ""
    stated = {
        "JetPack": target.jetpack,
        "compute capability": target.compute_capability,
        "extensions": " ".join(target.isa),
    }
    return release + "".join(f", {label} {value}" for label, value in stated.items() if value)


def _flavour(flavour: QuantizationFlavour) -> str:
    """Describe a :class:`~compress.target.target.QuantizationFlavour` in a sentence."""
    sign = "unsigned" if flavour.activation == "uint8" else "signed"
    zero = "zero point 0" if flavour.symmetric else "a zero point of their own"
    scale = "a scale per output channel" if flavour.per_channel else "one scale per tensor"
    bits = (
        ", in seven bits because the multiply-add of this processor saturates" if flavour.reduce_range else ""
    )
    bias = "the bias is int32" if flavour.quantize_bias else "the bias stays float"
    return f"{sign} activations with {zero}; signed weights with {scale}{bits}; {bias}."


def _here(target: Target) -> str:
    if target.here:
        return "This machine: accuracy and latency are measured."
    return "Not this machine: accuracy is measured here on the very graph, latency is estimated."
