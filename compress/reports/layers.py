"""The layers of builds: time, precision, and sensitivity of the accuracy to each.

What is known of a layer comes from several places: its time from the profile, how sensitive it is and why it stayed
in float from what the techniques report. They are joined by the layer's name, and a column that no layer of a build
fills is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compress.reports.figures import ESTIMATED, digits, signed, size_text
from compress.reports.markup import Child, Markup, join, tag
from compress.reports.run import Run
from compress.reports.tables import MISSING, Cell, bar, details, table
from compress.search.run_directory import Candidate


@dataclass(frozen=True)
class Layer:
    """Figures of one layer.

    Attributes:
        name: Name in the graph or the runtime.
        operator: Operator of the layer, or those fused into it.
        outputs: Shapes of its outputs, as text.
        precision: Precision it computes in, with the reason where it was left in float. Empty where unknown.
        macs: Multiply-accumulate operations of one call.
        moved: Number of bytes it reads and writes in one call.
        ms: Time in one call, in milliseconds.
        estimated: Whether the time is a roofline's estimate.
        share: Share of the whole call's time, in [0, 1].
        bound: Limiting resource: "compute", "memory" or "launch"; empty where unknown.
        roofline: Share of the target's peak that it reaches, in [0, 1].
        sensitivity: Accuracy drop in points, or error, where this layer alone is quantized.
        in_points: Whether ``sensitivity`` is in points of accuracy.
    """

    name: str
    operator: str = ""
    outputs: str = ""
    precision: str = ""
    macs: int | None = None
    moved: float | None = None
    ms: float | None = None
    estimated: bool = False
    share: float | None = None
    bound: str = ""
    roofline: float | None = None
    sensitivity: float | None = None
    in_points: bool = False


def layers(run: Run) -> Markup:
    """Return a section with the layers of every build; those of the shipped build are unfolded."""
    builds = [(entry, build_layers) for entry in run.candidates if (build_layers := layers_of(entry))]
    if not builds:
        return tag("p", "This run has no figures per layer: it measured whole calls on this machine.")
    return join(
        [
            *_notes([layer for _, build_layers in builds for layer in build_layers]),
            *(_build(*b, run) for b in builds),
        ]
    )


def layers_of(entry: Candidate) -> list[Layer]:
    """Return the layers of one build, the longest first, of equal ones the most sensitive first."""
    by_name = {layer.name: layer for layer in _timed(entry)}
    for listed_layer in _entries(entry.reports.get("sensitivity")):
        name = str(listed_layer.get("layer", ""))
        layer = by_name.get(name, Layer(name))
        by_name[name] = replace(
            layer,
            operator=layer.operator or str(listed_layer.get("operator", "")),
            precision=layer.precision or str(listed_layer.get("kept", "")),
            sensitivity=_number(listed_layer.get("drop_points", listed_layer.get("error"))),
            in_points="drop_points" in listed_layer,
        )
    reasons = _kept_in_float(entry)
    told_why = [
        replace(layer, precision=f"float: {reasons[layer.name]}") if layer.name in reasons else layer
        for layer in by_name.values()
    ]
    return sorted(told_why, key=lambda layer: (-(layer.ms or 0.0), -(layer.sensitivity or 0.0)))


def time_text(milliseconds: float) -> str:
    """Format a time in milliseconds, or in microseconds below one."""
    return f"{digits(1000 * milliseconds)} µs" if milliseconds < 0.9995 else f"{digits(milliseconds)} ms"


def _timed(entry: Candidate) -> Iterable[Layer]:
    recorded = () if entry.profile is None else entry.profile.layers
    total = sum(layer.ms or 0.0 for layer in recorded)
    counted: dict[str, int] = {}
    for layer in recorded:
        counted[layer.name] = counted.get(layer.name, 0) + 1
        share = layer.share
        if share is None and layer.ms is not None and total:
            share = layer.ms / total
        yield Layer(
            name=layer.name if counted[layer.name] == 1 else f"{layer.name} ({counted[layer.name]})",
            operator=layer.operator,
            outputs=", ".join("×".join(map(str, shape)) for shape in layer.outputs or ()),
            precision=layer.precision or "",
            macs=layer.macs,
            moved=layer.bytes,
            ms=layer.ms,
            estimated=layer.estimated,
            share=share,
            bound=layer.bound or "",
            roofline=layer.roofline_share,
        )


def _entries(report: object) -> Iterable[Mapping[str, Any]]:
    listed = report.get("layers") if isinstance(report, Mapping) else None
    return (
        [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list | tuple) else []
    )


def _kept_in_float(entry: Candidate) -> Mapping[str, str]:
    report = entry.reports.get("quantize")
    float_nodes = report.get("float_nodes") if isinstance(report, Mapping) else None
    return (
        {str(name): str(why) for name, why in float_nodes.items()} if isinstance(float_nodes, Mapping) else {}
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _notes(layers_shown: Sequence[Layer]) -> Iterable[Markup]:
    if any(layer.bound for layer in layers_shown):
        yield tag(
            "p",
            "A layer is bound by what takes longest: arithmetic (compute), bytes moved (memory), or launching it.",
        )
    if any(layer.share is not None and not layer.estimated for layer in layers_shown):
        yield tag(
            "p", "Shares are of the whole call; what is missing from their sum passes between the layers."
        )
    if any(layer.sensitivity is not None for layer in layers_shown):
        yield tag("p", "Sensitivity is what quantizing a layer alone costs, with all others left in float.")


def _build(entry: Candidate, layers_shown: Sequence[Layer], run: Run) -> Markup:
    name = entry.recipe.name
    total = sum(layer.ms or 0.0 for layer in layers_shown)
    summary = [f"{name}: {len(layers_shown)} {'layer' if len(layers_shown) == 1 else 'layers'}"]
    order = "most sensitive first"
    if total:
        order = "slowest first"
        summary.append(f", {time_text(total)}{_rest(layers_shown, total, entry)} ")
    if any(layer.estimated for layer in layers_shown):
        summary.append(ESTIMATED)
    most = max((layer.sensitivity or 0.0 for layer in layers_shown), default=0.0)
    columns = [
        (heading, cell)
        for heading, cell in _columns(most)
        if any(cell(layer) != MISSING for layer in layers_shown)
    ]
    rows = [[layer.name, *(cell(layer) for _, cell in columns)] for layer in layers_shown]
    headings = ["layer", *(heading for heading, _ in columns)]
    layer_table = table(f"Layers of {name}, {order}", headings, rows, sortable=True, long=True)
    return details(join(summary), layer_table, opened=name == run.shipped)


def _rest(layers_shown: Sequence[Layer], total: float, entry: Candidate) -> str:
    """Tell what the layers leave of the call: with the runtime's tracer on it takes longer than without."""
    share = sum(layer.share or 0.0 for layer in layers_shown)
    if any(layer.estimated for layer in layers_shown) or entry.profile is None or not 0 < share < 1:
        return ""
    median = time_text(entry.profile.latency[0].p50_ms)
    return (
        f" of the {time_text(total / share)} of a traced call; {100 * (1 - share):.0f} % of it passes between the "
        f"layers; untraced, the median of a call is {median}"
    )


def _columns(most: float) -> list[tuple[str, Callable[[Layer], Cell]]]:
    """Return headings and cells of the columns; sensitivities are drawn against the greatest, ``most``."""
    return [
        ("time", lambda layer: _cell(layer.ms, time_text)),
        ("share of the time", lambda layer: _cell(layer.share, share_bar)),
        ("precision", lambda layer: _text(layer.precision)),
        (
            "sensitivity",
            lambda layer: _cell(layer.sensitivity, lambda value: _sensitivity(value, layer, most)),
        ),
        ("operator", lambda layer: _text(layer.operator)),
        ("bound by", lambda layer: _text(layer.bound)),
        ("share of the roofline", lambda layer: _cell(layer.roofline, share_bar)),
        ("MACs", lambda layer: _cell(layer.macs, lambda value: f"{value:,.0f}")),
        ("traffic", lambda layer: _cell(layer.moved, size_text)),
        ("output", lambda layer: _text(layer.outputs)),
    ]


def share_bar(share: float) -> Markup:
    """Return a share in percent, with a bar."""
    return join([tag("span", f"{100 * share:.1f} %", class_="value"), bar(share)])


def _sensitivity(value: float, layer: Layer, most: float) -> Markup:
    text = f"{signed(value, '.2f')} points" if layer.in_points else f"error {value:.3g}"
    return join([tag("span", text, class_="value"), bar(value / most if most > 0 else 0.0)])


def _cell(value: float | None, shown: Callable[[float], Child]) -> Cell:
    return MISSING if value is None else Cell(shown(value), value)


def _text(text: str) -> Cell:
    return Cell(text, number=False) if text else MISSING
