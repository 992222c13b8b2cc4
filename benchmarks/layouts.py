"""Tables of the documents: the results that each comes from, and the form of each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.results import Row
from benchmarks.tables import Layout

_COSTS = ("by_hand", "nncf", "compress_alone", "compress_search")
_TOLD = {
    f"{told}, batch {batch}": f"{{{threads}_{batch}[told]:.3f}} / {{{threads}_{batch}[real]:.3f}}"
    for told, threads in {"1 thread": "threads_1", "default": "threads_default"}.items()
    for batch in (1, 32)
}
_RIVALS = ("defaults", "by_hand", "nncf", "compress")


def _setting(row: Row) -> str:
    return f"threads_{row['threads']}_{row['batch']}"


def _told(machine: str) -> Layout:
    """Return the table of what is told against what a user gets, on one of two machines."""
    columns = {"network": "{network}", **_TOLD}
    return Layout(f"told_against_real.{machine}", "ratios", columns, wide=("network", _setting))


def _fastest_in_bold(row: Row) -> Row:
    """Return the row with the smallest time at batch 1 in bold, among the builds inside the margin."""
    inside = [rival for rival in _RIVALS if row[rival] and row[rival]["inside"]]
    fastest = min(inside, key=lambda rival: float(row[rival]["batch_1"]), default=None)
    shown: dict[str, Any] = dict(row)
    for rival in filter(row.get, _RIVALS):
        first = f"{row[rival]['batch_1']:.2f}"
        shown[rival] = {**row[rival], "batch_1": f"**{first}**" if rival == fastest else first}
    return shown


def _gates(row: Row) -> Row:
    """Return the row with a text for the gates of each network and of both."""
    shown: dict[str, Any] = {"candidate": row["candidate"]}
    for network in ("convolutions", "dense", "both"):
        counts = row[network]
        shown[network] = f"{counts['found']} of {counts['gates']}"
        if counts.get("inconclusive"):
            shown[network] += f" ({counts['inconclusive']} inconclusive)"
        elif "interval" in counts:
            low, high = counts["interval"]
            shown[network] += f" ({low:g}–{high:g} %)"
    return shown


def _cost(cost: Row | None) -> str:
    """Return the text of what quantizing took; None for a build whose floats are only cast."""
    return "a cast" if cost is None else f"{cost['seconds']} s, {cost['peak_mib']} MiB"


def _shipped(build: Row | None) -> str:
    """Return the text of what was shipped; None where nothing was, or where it was not tried."""
    if build is None:
        return "–"
    if build["shipped"] == "fp32":
        return "fp32"
    drops = f"{build['drop_points']:.2f} ({build['drop_at_most']:.2f}), {build['true_drop']:-.2f}".replace(
        "-", "−"
    )
    return f"{build['shipped']}, {drops}, {build['time_over_fp32']:.2f}"


def _error(row: Row) -> str | None:
    """Return the text of a build's error; None without a build, "none" where it gives what the network gives."""
    if row["shipped"] == "–":
        return None
    return "none" if row["error_db"] is None else f"{row['error_db']} dB"


def _share(value: float | None) -> str:
    """Return the text of a share of the largest value, with one digit where it is small."""
    return "–" if value is None else f"{value:.0e}" if value < 0.01 else f"{value:.2f}"


def _ratio(values: Sequence[float] | None) -> str:
    """Return the text of a ratio of times, with its interval where it has one; None where it was not measured."""
    if values is None:
        return "–"
    ratio, *interval = [f"{value:.2f}" for value in values]
    return f"{ratio} ({'–'.join(interval)})" if interval else ratio


def _times(key: str) -> str:
    """Return the format of a ratio of times with its interval."""
    return f"{{{key}[0]:.2f}} ({{{key}[1]:.2f}}–{{{key}[2]:.2f}})"


def _both(rival: str, outside: str = "") -> str:
    """Return the format of a build's ratios at batch 1 and 32."""
    mark = f"{{{rival}[inside]:|{outside}}}" if outside else ""
    return f"{{{rival}[batch_1]:.2f}} / {{{rival}[batch_32]:.2f}}{mark}"


LAYOUTS: Mapping[str, Layout] = {
    "language.accuracy": Layout(
        "language",
        "accuracy",
        {
            "build": "{build}",
            "MB": "{megabytes:.1f}",
            "perplexity": "{perplexity:.2f}",
            "divergence from fp32, nats": "{divergence:.4f}",
            "same token": "{percent:.1f} %",
        },
        change=lambda row: {**row, "megabytes": row["bytes"] / 1e6, "percent": 100 * row["agreement"]},
    ),
    "told_against_real.xeon": _told("xeon"),
    "told_against_real.epyc": _told("epyc"),
    "verdicts": Layout(
        "verdicts",
        "gates",
        {
            "candidate": "{candidate}",
            "convolutions, 0.8 ms a call": "{convolutions}",
            "dense, 0.2 ms a call": "{dense}",
            "both": "{both}",
        },
        change=_gates,
    ),
    "quantization": Layout(
        "quantization",
        "ratios",
        {
            "network": "{network}",
            "threads": "{threads}",
            "fp32, ms": "{fp32[batch_1]:.3g} / {fp32[batch_32]:.3g}",
            "ONNX Runtime, defaults": _both("defaults", " (outside)"),
            "by hand": _both("by_hand"),
            "NNCF + OpenVINO": _both("nncf"),
            "**compress**": _both("compress"),
            "shipped": "{shipped}",
            "best rival over ours": "{rival_over_ours[batch_1]:.2f} / {rival_over_ours[batch_32]:.2f}",
        },
    ),
    "quantization.peers": Layout(
        "quantization",
        "ratios",
        {
            "network": "{network}",
            "ONNX Runtime, defaults": "{defaults[batch_1]} / {defaults[batch_32]:.2f}{defaults[inside]:|, outside}",
            "ONNX Runtime, by hand": "{by_hand[batch_1]} / {by_hand[batch_32]:.2f}{by_hand[inside]:|, outside}",
            "NNCF + OpenVINO": "{nncf[batch_1]} / {nncf[batch_32]:.2f}{nncf[inside]:|, outside}",
            "compress": "{compress[batch_1]} / {compress[batch_32]:.2f}{compress[inside]:|, outside}",
        },
        keep=lambda row: bool(row["threads"] == 1),
        change=_fastest_in_bold,
    ),
    "quantization.throughput": Layout(
        "quantization.throughput",
        "throughput",
        {
            "network": "{network}",
            "threads": "{threads}",
            "by hand": "{by_hand:.2f}",
            "NNCF + OpenVINO": "{nncf:.2f}",
            "**compress**": "{compress:.2f}",
            "shipped": "{shipped}",
            "best rival over ours, batch 32": _times("rival_over_ours"),
        },
    ),
    "quantization.accuracy": Layout(
        "quantization",
        "accuracy",
        {
            "network": "{network}",
            "fp32": "{fp32[top1]:.2f} ({fp32[low]:.2f}–{fp32[high]:.2f}), {fp32[kb]} kB",
            **{
                heading: f"{{{rival}[top1]:.2f}}, at most {{{rival}[drop_at_most]:.2f}}, {{{rival}[kb]}} kB"
                for heading, rival in {
                    "defaults": "defaults",
                    "by hand": "by_hand",
                    "NNCF": "nncf",
                    "compress": "compress",
                }.items()
            },
            "quantizing: by hand, NNCF, ours alone, ours with the search": "{cost}",
        },
        change=lambda row: {**row, "cost": "; ".join(_cost(row["cost"][who]) for who in _COSTS)},
    ),
    "calibration_memory": Layout(
        "calibration_memory",
        "peaks",
        {"method": "{method}", "64 samples": "{64_samples:.1f}", "4,096 samples": "{4096_samples:.1f}"},
    ),
    "detector": Layout(
        "detector",
        "builds",
        {
            "build": "{build}",
            "map": "{map:.4f}",
            "drop (at most, 95 %)": "{drop_percent:-.2f} % ({drop_at_most_percent:.2f} %)",
            "time over fp32's, batch 1": "{time_over_fp32:.2f}",
        },
    ),
    "cost": Layout(
        "cost",
        "optimize",
        {
            "network": "{network}",
            "weights": "{weights_mb} MB",
            "`optimize`": "{seconds} s",
            "of that fp32": "{fp32_seconds} s",
            "peak (goal)": "{peak_gib:.1f} GiB ({goal_gib:.1f})",
        },
    ),
    "fragile": Layout("fragile", "builds", {"build": "{build}", "top-1": "{top1_percent:.2f} %"}),
    "pruning": Layout(
        "pruning",
        "builds",
        {
            "method": "{method}",
            "asked": "{asked:g}",
            "batch 1": _times("batch_1"),
            "batch 32": _times("batch_32"),
            "top-1, %": "{top1_percent:.2f}",
            "drop, points (at most)": "{drop_points:.2f} ({drop_at_most:.2f})",
            "size": "{kb} kB",
        },
    ),
    "pruning.recipes": Layout(
        "pruning.recipes",
        "recipes",
        {
            "build": "{build}",
            "top-1, %": "{top1_percent:.2f}",
            "drop, points (at most)": "{drop_points:.2f} ({drop_at_most:.2f})",
            "batch 1": _times("batch_1"),
            "batch 32": _times("batch_32"),
            "size": "{kb} kB",
        },
    ),
    "pruning.latency_share": Layout(
        "pruning.latency_share",
        "latency_share",
        {
            "asked for, of the latency": "{asked:g}",
            "predicted from layers": "{predicted:.2f}",
            "measured, in turns with the original": "{measured[0]:.2f} ({measured[1]:.2f} to {measured[2]:.2f})",
            "multiply-accumulates left": "{macs_left:.2f}",
        },
    ),
    "pruning_scale": Layout(
        "pruning_scale",
        "networks",
        {
            "network": "{network}",
            "layers": "{layers:,}",
            "units": "{units:,}",
            "groups": "{groups:,}",
            "seconds": "{seconds:.2f}",
            "ms a layer": "{ms_a_layer:.2f}",
            "MB": "{mb:.1f}",
        },
    ),
    "scaling_law": Layout(
        "scaling_law",
        "widths",
        {
            "width": "{width:g}{recommended:, recommended|}{fitted:|, not fitted}",
            "parameters": "{parameters:,}",
            "trained": "{trained} %",
            "predicted, 90 % bounds": "{predicted[0]:.2f} % ({predicted[1]:.2f}–{predicted[2]:.2f})",
        },
        change=lambda row: {**row, "trained": ", ".join(f"{error:.2f}" for error in row["trained"])},
    ),
    "fit_estimator.forms": Layout(
        "fit_estimator.forms",
        "forms",
        {
            "form of the model": "{form}{chosen: (**chosen**)|}",
            "coefficients": "{coefficients}",
            "Jetson": "{jetson[0]} %, {jetson[1]} %",
            "datacenter": "{datacenter[0]} %, {datacenter[1]} %",
        },
    ),
    "judging.study": Layout(
        "judging.study",
        "one_point",
        {
            "network": "{network}",
            **{
                heading: f"{{{judge}[bad_shipped]}}/{{{judge}[bad]}} · {{{judge}[good_kept_out]}}/{{{judge}[good]}}"
                for heading, judge in {
                    "agreement, 500 samples": "agreement_500",
                    "unsharpened, 500": "unsharpened_500",
                    "loss, 500": "loss_500",
                    "loss, all": "loss_all",
                }.items()
            },
        },
    ),
    "judging.shipping": Layout(
        "judging.shipping",
        "shipped",
        {
            "network": "{network}",
            "now: shipped, told drop (at most), true drop, time over fp32's": "{now}",
            "before": "{before}",
            "with labels": "{labels}",
        },
        change=lambda row: {**row, **{way: _shipped(row.get(way)) for way in ("now", "before", "labels")}},
    ),
    "architectures": Layout(
        "architectures",
        "architectures",
        {
            "architecture": "{architecture}",
            "given as": "{given_as}",
            "fp32": "{fp32}",
            "int8": "{int8}",
            "parameters pruned": "{pruned_percent} %",
            "lint errors": "{lint_errors}",
            "shipped": "{shipped}",
            "seconds": "{seconds}",
            "MiB": "{mib}",
            "what was refused": "{refused}",
        },
        change=lambda row: {**row, "fp32": _share(row["fp32"]), "int8": _share(row["int8"])},
    ),
    "streaming": Layout("streaming", "figures", {"figure": "{what}", "value": "{value}"}),
    "zoo": Layout(
        "zoo",
        "networks",
        {
            "network": "{network}",
            "what it does": "{does}",
            "form": "{form}",
            "lint errors for a Jetson": "{lint_errors}",
            "int8 of quantize": "{int8_db} dB",
            "shipped": "{shipped}",
            "told": "{told}",
            "error": "{error}",
            "same answer": "{same_answer_percent:.1f} %",
            "× time": "{time_over_given:.2f} of {given_ms:.3g} ms",
            "seconds": "{seconds}",
            "MiB": "{mib}",
            "refused": "{refused}",
        },
        change=lambda row: {**row, "error": _error(row)},
    ),
    "post_training": Layout(
        "post_training",
        "networks",
        {
            "network": "{network}",
            "fp32": "{fp32_percent:.2f} %",
            "shipped": "{shipped}",
            "its accuracy": "{percent:.2f} ± {plus_minus:.2f} %",
            "drop, points (at most)": "{drop_points:-.2f} ({drop_at_most:-.2f})",
            "size": "{size} of {size_fp32}",
            "× fp32 time, batch 1": "{batch_1}",
            "batch 32": "{batch_32}",
        },
        change=lambda row: {**row, "batch_1": _ratio(row["batch_1"]), "batch_32": _ratio(row["batch_32"])},
    ),
}
