"""The rows of ``benchmarks run quantization`` as tables, and a summary line for each network; reads its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from compress.reports.figures import size_text

#: Times closer than this are equal: two sessions of one file differ by as much.
TIE = 0.02

_HEADINGS = ("threads", "build", "settings", "metric", "drop, points", "size", "batch 1", "batch 32")


#: Builds by the keys of a result.
_BUILDS = {
    "fp32": "fp32, ONNX Runtime",
    "defaults": "ONNX Runtime, defaults",
    "by_hand": "ONNX Runtime, by hand",
    "nncf": "NNCF + OpenVINO",
    "compress": "compress",
}


def print_tables(networks: Mapping[str, Any], console: Console) -> None:
    """Print a table and summary lines for each network.

    Args:
        networks: Name → its entry in the JSON.
        console: Console that it is printed on.
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


def recorded(networks: Mapping[str, Any], objective: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a result: ratios of times and accuracy, or for throughput the ratios at the largest batch."""
    ratios, accuracy = [], []
    for name, entry in networks.items():
        for standing in entry["standings"]:
            builds = {row["build"]: row for row in entry["rows"] if row["threads"] == standing["threads"]}
            ratios.append(_ratios(name, builds, standing))
        first = {row["build"]: row for row in reversed(entry["rows"])}
        figures = {key: _accuracy(first[build]) for key, build in _BUILDS.items()}
        ours = first[_BUILDS["compress"]]["found"]
        cost = {key: _made(first[_BUILDS[key]]["found"]) for key in ("by_hand", "nncf")}
        cost |= {"compress_alone": _made(ours.get("step", {})), "compress_search": _made(ours)}
        accuracy.append({"network": name, **figures, "cost": cost})
    if objective == "throughput":
        return {"throughput": [_largest(row) for row in ratios]}
    return {"ratios": ratios, "accuracy": accuracy}


def _ratios(name: str, builds: Mapping[str, Any], standing: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"network": name, "threads": standing["threads"]}
    for key, build in _BUILDS.items():
        figures = {
            f"batch_{each['batch']}": each["ratio"] or each["p50_ms"] for each in builds[build]["latency"]
        }
        row[key] = {**figures, "inside": builds[build]["inside"]} if figures else None
    row["shipped"] = builds[_BUILDS["compress"]]["settings"]
    against = standing.get("against", ())
    row["rival_over_ours"] = {f"batch_{each['batch']}": each["ratio"] for each in against}
    row["interval"] = {f"batch_{each['batch']}": list(each["interval"].values()) for each in against}
    return row


def _accuracy(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the accuracy in percent, its drop in points, and the size of the files in kB; None for a failure."""
    accuracy, drop = row["accuracy"], (row["accuracy"] or {}).get("drop")
    return accuracy and {
        "top1": 100 * accuracy["mean"],
        "low": 100 * accuracy["interval"]["low"],
        "high": 100 * accuracy["interval"]["high"],
        "drop_at_most": drop and drop["interval"]["high"],
        "kb": round(row["bytes"] / 1e3),
    }


def _made(found: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the cost of making a build; None where it is not known, as for a cast alone."""
    if "seconds" not in found:
        return None
    return {"seconds": round(found["seconds"]), "peak_mib": round(found["peak_mib"])}


def _largest(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ratios at the largest batch alone; the rival's with its interval."""
    builds = {key: row[key] and row[key]["batch_32"] for key in _BUILDS if key != "fp32"}
    if "batch_32" in row["interval"]:
        builds["rival_over_ours"] = [row["rival_over_ours"]["batch_32"], *row["interval"]["batch_32"]]
    return {"network": row["network"], "threads": row["threads"], "shipped": row["shipped"], **builds}


def summary(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each number of threads: the margin, the time over fp32's, and the lead over the best rival."""
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
    """Return the cost of making the build; for ours also that of the techniques alone."""
    if field not in found:
        return "–"
    whole, alone = format(found[field], digits), found.get("step", {}).get(field)
    return whole if alone is None else f"{whole} (alone {alone:{digits}})"
