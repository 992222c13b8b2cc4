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
    builds = [(entry, found) for entry in run.candidates if (found := layers_of(entry))]
    if not builds:
        return tag("p", "This run has no figures per layer: it measured whole calls on this machine.")
    return join(
        [*_notes([layer for _, found in builds for layer in found]), *(_build(*b, run) for b in builds)]
    )


def layers_of(entry: Candidate) -> list[Layer]:
    """Return the layers of one build, the longest first, of equal ones the most sensitive first."""
    found = {layer.name: layer for layer in _timed(entry)}
    for told in _entries(entry.reports.get("sensitivity")):
        name = str(told.get("layer", ""))
        layer = found.get(name, Layer(name))
        found[name] = replace(
            layer,
            operator=layer.operator or str(told.get("operator", "")),
            precision=layer.precision or str(told.get("kept", "")),
            sensitivity=_number(told.get("drop_points", told.get("error"))),
            in_points="drop_points" in told,
        )
    reasons = _kept_in_float(entry)
    told_why = [
        replace(layer, precision=f"float: {reasons[layer.name]}") if layer.name in reasons else layer
        for layer in found.values()
    ]
    return sorted(told_why, key=lambda layer: (-(layer.ms or 0.0), -(layer.sensitivity or 0.0)))


def time_text(milliseconds: float) -> str:
    """Format a time in milliseconds, or in microseconds below one."""
    return f"{digits(1000 * milliseconds)} µs" if milliseconds < 0.9995 else f"{digits(milliseconds)} ms"


def _timed(entry: Candidate) -> Iterable[Layer]:
    recorded = () if entry.profile is None else entry.profile.layers
    times = [_number(layer.get("ms")) for layer in recorded]
    total = sum(time or 0.0 for time in times)
    counted: dict[str, int] = {}
    for layer, time in zip(recorded, times, strict=True):
        name = str(layer.get("name", ""))
        counted[name] = counted.get(name, 0) + 1
        share = _number(layer.get("share"))
        if share is None and time is not None and total:
            share = time / total
        yield Layer(
            name=name if counted[name] == 1 else f"{name} ({counted[name]})",
            operator=str(layer.get("operator", "")),
            outputs=", ".join("×".join(map(str, shape)) for shape in layer.get("outputs", ())),
            precision=str(layer.get("precision", "")),
            macs=layer.get("macs"),
            moved=_number(layer.get("bytes")),
            ms=time,
            estimated=layer.get("source") == "estimated",
            share=share,
            bound=str(layer.get("bound", "")),
            roofline=_number(layer.get("roofline_share")),
        )


def _entries(report: object) -> Iterable[Mapping[str, Any]]:
    listed = report.get("layers") if isinstance(report, Mapping) else None
    return [told for told in listed if isinstance(told, Mapping)] if isinstance(listed, list | tuple) else []


def _kept_in_float(entry: Candidate) -> Mapping[str, str]:
    report = entry.reports.get("quantize")
    kept = report.get("float_nodes") if isinstance(report, Mapping) else None
    return {str(name): str(why) for name, why in kept.items()} if isinstance(kept, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _notes(found: Sequence[Layer]) -> Iterable[Markup]:
    if any(layer.bound for layer in found):
        yield tag(
            "p",
            "A layer is bound by what takes longest: arithmetic (compute), bytes moved (memory), or launching it.",
        )
    if any(layer.share is not None and not layer.estimated for layer in found):
        yield tag(
            "p", "Shares are of the whole call; what is missing from their sum passes between the layers."
        )
    if any(layer.sensitivity is not None for layer in found):
        yield tag("p", "Sensitivity is what quantizing a layer alone costs, with all others left in float.")


def _build(entry: Candidate, found: Sequence[Layer], run: Run) -> Markup:
    name = entry.recipe.name
    total = sum(layer.ms or 0.0 for layer in found)
    summary = [f"{name}: {len(found)} {'layer' if len(found) == 1 else 'layers'}"]
    order = "most sensitive first"
    if total:
        order = "slowest first"
        summary.append(f", {time_text(total)} ")
    if any(layer.estimated for layer in found):
        summary.append(ESTIMATED)
    most = max((layer.sensitivity or 0.0 for layer in found), default=0.0)
    columns = [
        (heading, cell) for heading, cell in _columns(most) if any(cell(layer) != MISSING for layer in found)
    ]
    rows = [[layer.name, *(cell(layer) for _, cell in columns)] for layer in found]
    headings = ["layer", *(heading for heading, _ in columns)]
    whole = table(f"Layers of {name}, {order}", headings, rows, sortable=True, long=True)
    return details(join(summary), whole, opened=name == run.shipped)


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
