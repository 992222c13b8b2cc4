"""What each technique did to the graph, and where the time goes, layer by layer."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compress.history import Candidate
from compress.reports.figures import ESTIMATED, size_text
from compress.reports.markup import Child, Markup, join, tag
from compress.reports.run import Run
from compress.reports.tables import MISSING, Cell, bar, definitions, details, pairs, table


def quantization(run: Run) -> Markup:
    """Fusion coverage of every build, then each technique's own report."""
    covered = [entry for entry in run.candidates if entry.profile is not None and entry.profile.coverage]
    told = [entry for entry in run.candidates if entry.reports]
    parts: list[Child] = []
    if run.estimated:
        # What ONNX Runtime fuses here says nothing of another compiler.
        target = run.manifest["target"]["name"]
        parts.append(tag("p", f"{target} compiles the graph itself; what it fuses was not observed."))
    elif covered:
        note = "What the runtime made of each graph: fused int8 kernels, and what stayed in float."
        headings = [
            "build",
            "arithmetic in int8",
            "int8 kernels",
            "float kernels",
            "float, cheap",
            "Q/DQ left",
        ]
        rows = [
            _coverage_row(entry.recipe.name, entry.profile.coverage) for entry in covered if entry.profile
        ]
        parts += [tag("p", note), table("Fusion coverage", headings, rows, marked=_index(run, covered))]
    parts += [_reports(entry) for entry in told]
    return join(parts or [tag("p", "No build was quantized, and none says what its runtime fused.")])


def layers(run: Run) -> Markup:
    """The layers of every build that has them; the shipped one's are unfolded."""
    parts: list[Child] = []
    for entry in run.candidates:
        if entry.profile is None or not entry.profile.layers:
            continue
        found, name = entry.profile.layers, entry.recipe.name
        total = sum(float(layer.get("ms", 0.0)) for layer in found)
        summary = join([f"{name}: {len(found)} layers, {total:.3g} ms ", _source(found)])
        rows = [_layer_row(position, layer, total) for position, layer in enumerate(found, 1)]
        headings = [
            "layer",
            "operator",
            "output",
            "precision",
            "MACs",
            "traffic",
            "time",
            "share",
            "bound by",
        ]
        parts.append(
            details(
                summary,
                table(f"Layers of {name}", headings, rows, sortable=True),
                opened=name == run.shipped,
            )
        )
    if not parts:
        return tag("p", "This run has no figures per layer: it measured whole calls on this machine.")
    note = (
        "A layer is bound by what takes longest: arithmetic (compute), bytes moved (memory), or launching it."
    )
    return join([tag("p", note), *parts])


def _coverage_row(name: str, coverage: Mapping[str, Any] | None) -> list[Child]:
    found = coverage or {}
    share = found.get("int8_mac_share")
    counts = [found.get(key) or {} for key in ("int8", "float_compute", "float_cheap")]
    shown: Child = MISSING
    if share is not None:
        shown = Cell(_share(share), share)
    pairs_left = f"{found.get('quantize', 0)} + {found.get('dequantize', 0)}"
    return [name, shown, *map(_kernels, counts), Cell(pairs_left)]


def _share(share: float) -> Markup:
    return join([tag("span", f"{100 * share:.1f} %", class_="value"), bar(share)])


def _kernels(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kernel}" for kernel, count in counts.items()) or "–"


def _index(run: Run, entries: Sequence[Candidate]) -> int | None:
    return next((at for at, entry in enumerate(entries) if entry.recipe.name == run.shipped), None)


def _reports(entry: Candidate) -> Markup:
    parts: list[Child] = []
    counted = ""
    for technique, report in entry.reports.items():
        if technique == "quantize" and isinstance(report, dict):
            counted = (
                f"{len(report.get('int8_nodes', ()))} nodes in int8, "
                f"{len(report.get('float_nodes', ()))} left in float"
            )
            parts.append(_quantize(report))
        else:
            parts.append(tag("h4", technique))
            parts.append(tag("pre", json.dumps(report, indent=1, ensure_ascii=False), tabindex=0))
    return details(f"{entry.recipe.name}: {counted or ', '.join(entry.reports)}", *parts)


def _quantize(report: Mapping[str, Any]) -> Markup:
    ranges = report.get("ranges", {})
    rows = [[reason, Cell(len(nodes), len(nodes)), ", ".join(nodes)] for reason, nodes in _by_reason(report)]
    flavour = report.get("flavour", {})
    form = "symmetric" if flavour.get("symmetric") else "affine"
    weights = "per channel" if flavour.get("per_channel") else "per tensor"
    settings = {key: value for key, value in report.get("settings", {}).items() if value not in ([], ())}
    parts: list[Child] = [
        definitions(
            [
                ("settings", pairs(settings)),
                ("activations", f"{flavour.get('activation', 'int8')}, {form}"),
                ("weights", f"{flavour.get('weight', 'int8')}, {weights}"),
                ("calibration", f"{report.get('samples', 0)} samples, {len(ranges)} activation ranges"),
            ]
        )
    ]
    if rows:
        parts.append(table("Nodes left in float, by reason", ["reason", "nodes", "names"], rows))
    names = ", ".join(map(str, report.get("int8_nodes", ())))
    parts.append(details("Nodes in int8", tag("p", names or "none", class_="names")))
    found = [
        [name, Cell(f"{low:.4g}", low), Cell(f"{high:.4g}", high)] for name, (low, high) in ranges.items()
    ]
    parts.append(
        details("Activation ranges", table("Activation ranges", ["activation", "low", "high"], found))
    )
    return join(parts)


def _by_reason(report: Mapping[str, Any]) -> Iterable[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for node, reason in report.get("float_nodes", {}).items():
        reasons[str(reason)].append(str(node))
    return sorted(reasons.items(), key=lambda entry: -len(entry[1]))


def _source(found: Iterable[Mapping[str, Any]]) -> Child:
    return ESTIMATED if any(layer.get("source") == "estimated" for layer in found) else ""


def _layer_row(position: int, layer: Mapping[str, Any], total: float) -> list[Child]:
    milliseconds = float(layer.get("ms", 0.0))
    share = milliseconds / total if total else 0.0
    shapes = ", ".join("×".join(map(str, shape)) for shape in layer.get("outputs", ()))
    moved = float(layer.get("bytes", 0))
    return [
        f"{position}. {layer.get('name', '')}",
        str(layer.get("operator", "")),
        shapes,
        str(layer.get("precision", "")),
        Cell(f"{layer.get('macs', 0):,}", layer.get("macs", 0)),
        Cell(size_text(moved), moved),
        Cell(f"{1000 * milliseconds:.3g} µs", milliseconds),
        Cell(_share(share), share),
        str(layer.get("bound", "")),
    ]
