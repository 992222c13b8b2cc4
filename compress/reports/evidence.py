"""Evidence of each technique's changes to the graph, and of the runtime's fusions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from compress.core.typed_records import check_types
from compress.records.coverage import Coverage
from compress.reports.layers import share_bar
from compress.reports.markup import Child, Markup, join, tag
from compress.reports.run import Run
from compress.reports.tables import MISSING, Cell, definitions, details, pairs, table
from compress.search.run_directory import Candidate


@dataclass(frozen=True)
class _Quantized:
    """The part of the report of the technique ``quantize`` that is shown."""

    int8_nodes: tuple[str, ...] = ()
    float_nodes: Mapping[str, str] = field(default_factory=dict)
    flavour: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    samples: int = 0

    @classmethod
    def read(cls, report: object) -> _Quantized | None:
        """Read the report; None where it has another form, as in a changed bundle."""
        if not isinstance(report, Mapping):
            return None
        quantized = cls(
            **{member.name: report[member.name] for member in fields(cls) if member.name in report}
        )
        try:
            check_types(quantized)
        except (TypeError, ValueError):
            return None
        return quantized if all(len(ends) == 2 for ends in quantized.ranges.values()) else None


def quantization(run: Run) -> Markup:
    """Return a section with the fusion coverage of every build, then each technique's own report."""
    covered = [
        entry for entry in run.candidates if entry.profile is not None and entry.profile.coverage is not None
    ]
    with_reports = [entry for entry in run.candidates if entry.reports]
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
            _coverage_row(entry.recipe.name, entry.profile.coverage)
            for entry in covered
            if entry.profile is not None and entry.profile.coverage is not None
        ]
        parts += [tag("p", note), table("Fusion coverage", headings, rows, marked=_index(run, covered))]
    parts += [_reports(entry) for entry in with_reports]
    return join(parts or [tag("p", "No build was quantized, and none says what its runtime fused.")])


def _coverage_row(name: str, coverage: Coverage) -> list[Child]:
    share = coverage.int8_mac_share
    counts = [coverage.int8, coverage.float_compute, coverage.float_cheap]
    shown: Child = MISSING
    if share is not None:
        shown = Cell(share_bar(share), share)
    pairs_left = f"{coverage.quantize or 0} + {coverage.dequantize or 0}"
    return [name, shown, *map(_kernels, counts), Cell(pairs_left)]


def _kernels(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kernel}" for kernel, count in counts.items()) or "–"


def _index(run: Run, entries: Sequence[Candidate]) -> int | None:
    return next((at for at, entry in enumerate(entries) if entry.recipe.name == run.shipped), None)


def _reports(entry: Candidate) -> Markup:
    parts: list[Child] = []
    counted = ""
    for technique, report in entry.reports.items():
        quantized = _Quantized.read(report) if technique == "quantize" else None
        if quantized is not None:
            counted = f"{len(quantized.int8_nodes)} nodes in int8, {len(quantized.float_nodes)} left in float"
            parts.append(_quantize(quantized))
        else:
            parts.append(tag("h4", technique))
            parts.append(
                tag("pre", json.dumps(_without_layers(report), indent=1, ensure_ascii=False), tabindex=0)
            )
    return details(f"{entry.recipe.name}: {counted or ', '.join(entry.reports)}", *parts)


def _without_layers(report: object) -> object:
    """Return a report without figures by layer, which have their own section."""
    if isinstance(report, dict):
        return {key: value for key, value in report.items() if key != "layers"}
    return report


def _quantize(report: _Quantized) -> Markup:
    ranges = report.ranges
    rows = [[reason, Cell(len(nodes), len(nodes)), ", ".join(nodes)] for reason, nodes in _by_reason(report)]
    flavour = report.flavour
    form = "symmetric" if flavour.get("symmetric") else "affine"
    weights = "per channel" if flavour.get("per_channel") else "per tensor"
    settings = {key: value for key, value in report.settings.items() if value not in ([], ())}
    parts: list[Child] = [
        definitions(
            [
                ("settings", pairs(settings)),
                ("activations", f"{flavour.get('activation', 'int8')}, {form}"),
                ("weights", f"{flavour.get('weight', 'int8')}, {weights}"),
                ("calibration", f"{report.samples} samples, {len(ranges)} activation ranges"),
            ]
        )
    ]
    if rows:
        parts.append(table("Nodes left in float, by reason", ["reason", "nodes", "names"], rows))
    names = ", ".join(map(str, report.int8_nodes))
    parts.append(details("Nodes in int8", tag("p", names or "none", class_="names")))
    range_rows = [
        [name, Cell(f"{low:.4g}", low), Cell(f"{high:.4g}", high)] for name, (low, high) in ranges.items()
    ]
    parts.append(
        details("Activation ranges", table("Activation ranges", ["activation", "low", "high"], range_rows))
    )
    return join(parts)


def _by_reason(report: _Quantized) -> Iterable[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for node, reason in report.float_nodes.items():
        reasons[str(reason)].append(str(node))
    return sorted(reasons.items(), key=lambda entry: -len(entry[1]))
