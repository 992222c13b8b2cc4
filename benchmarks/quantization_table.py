"""The rows of ``benchmarks/quantization.py`` as tables, and a summary line for each network; reads its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from compress.reports.figures import size_text

#: Times closer than this are equal: two sessions of one file differ by as much.
TIE = 0.02

_HEADINGS = ("threads", "build", "settings", "metric", "drop, points", "size", "batch 1", "batch 32")


def print_tables(networks: Mapping[str, Any], console: Console) -> None:
    """Print a table and summary lines for each network.

    Args:
        networks: Name → its entry in the JSON.
        console: Where to.
    """
    for name, entry in networks.items():
        table = Table(title=f"{name}, time as a share of fp32's in ONNX Runtime", title_justify="left")
        for heading in (*_HEADINGS, "quantizing, s", "MiB", "why"):
            table.add_column(heading, no_wrap=heading not in ("settings", "why"))
        for row in entry["rows"]:
            table.add_row(*_cells(row))
        console.print(table)
        for line in summary(name, entry):
            console.print(line, soft_wrap=True)
        console.print()


def summary(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """For each number of threads: inside the margin, never slower than fp32, and how far before the best rival."""
    for standing in entry["standings"]:
        at = f"{name}, {standing['threads']} thread{'s' if standing['threads'] > 1 else ''}"
        if standing["error"] is not None:
            yield f"{at}: no build of ours: {standing['error']}"
            continue
        margin = "inside the margin" if standing["inside"] else "NOT inside the margin"
        batches = standing["slower_than_fp32_at"]
        slower = (
            f"SLOWER than fp32 at batch {', '.join(map(str, batches))}" if batches else "not slower than fp32"
        )
        against = "; ".join(_against(each) for each in standing["against"]) or "no rival inside the margin"
        yield f"{at}: {margin}; {slower}; {against}"


def _against(entry: Mapping[str, Any]) -> str:
    """The best rival's time over ours, with its interval."""
    if entry["ratio"] is None or entry["interval"] is None:
        return f"batch {entry['batch']}: not measured"
    low, high = entry["interval"]["low"], entry["interval"]["high"]
    rival = f"the best rival ({entry['rival']})"
    if low > 1 + TIE:
        told = f"fastest; {rival} takes"
    else:
        told = f"{'as fast as' if high >= 1 - TIE else 'SLOWER than'} {rival}, which takes"
    return f"batch {entry['batch']}: {told} {entry['ratio']:.2f} ({low:.2f}–{high:.2f}) times our time"


def _cells(row: Mapping[str, Any]) -> list[str]:
    start = [str(row["threads"]), row["build"], row["settings"]]
    if row["error"] is not None:
        return [*start, *["–"] * 7, row["error"]]
    accuracy, found = row["accuracy"], row["found"]
    return [
        *start,
        f"{accuracy['mean']:.2%} ({accuracy['interval']['low']:.2%}–{accuracy['interval']['high']:.2%})",
        _drop(accuracy["drop"]),
        size_text(row["bytes"]),
        *(_ratio(latency) for latency in row["latency"]),
        _cost(found, "seconds", ".1f"),
        _cost(found, "peak_mib", ".0f"),
        "" if row["inside"] else "outside the margin",
    ]


def _drop(drop: Mapping[str, Any] | None) -> str:
    if drop is None:
        return "–"
    return f"{drop['points']:.2f} ({drop['interval']['low']:.2f} to {drop['interval']['high']:.2f})"


def _ratio(latency: Mapping[str, Any]) -> str:
    if latency["ratio"] is None or latency["ratio_interval"] is None:
        return f"1 ({latency['p50_ms']:.3g} ms)"
    interval = latency["ratio_interval"]
    return f"{latency['ratio']:.3f} ({interval['low']:.3f}–{interval['high']:.3f})"


def _cost(found: Mapping[str, Any], field: str, digits: str) -> str:
    """Of making the build; for ours also of the techniques alone."""
    if field not in found:
        return "–"
    whole, alone = format(found[field], digits), found.get("step", {}).get(field)
    return whole if alone is None else f"{whole} (alone {alone:{digits}})"
