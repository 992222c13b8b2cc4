"""The report of a run in Markdown: what was tried, what was shipped, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.choice import Choice
    from compress.history import Candidate
    from compress.record import Accuracy, Drop, Latency, Profile

#: How many layers the report names.
_LAYERS = 10


def report(manifest: dict[str, Any], choice: Choice, candidates: Sequence[Candidate]) -> str:
    """The whole report.

    Args:
        manifest: Of the bundle.
        choice: What was decided.
        candidates: Everything that was tried, the original first.
    """
    shipped = choice.candidate
    profile = None if shipped is None else shipped.profile
    estimated = profile is not None and profile.latency[0].source == "estimated"
    target, network, data = manifest["target"], manifest["network"], manifest["data"]
    lines = [
        f"# {manifest['name']} for {target['name']}",
        "",
        f"{choice.reason}.",
        "",
        *_table(candidates, choice),
        "",
    ]
    if estimated:
        lines += [
            "Latencies are **estimated** by a roofline over the target's peaks: no such machine was at hand. "
            "Accuracy was measured here, by running the very graph.",
            "",
        ]
    if profile is not None and profile.layers:
        lines += _slowest_layers(profile)
    lines += [
        f"- network: `{network['path']}` ({network['format']}, sha256 `{network['sha256'][:12]}`)",
        f"- data: {data['metric']} on {profile.accuracy.samples if profile and profile.accuracy else 0} samples",
        f"- artifact: `{manifest['artifact']['file']}`, sha256 `{manifest['artifact']['sha256'][:12]}`",
        f"- session options: {', '.join(f'{key} {value}' for key, value in manifest['artifact']['options'].items())}",
        f"- machine: {', '.join(f'{key} {value}' for key, value in profile.fingerprint.items()) if profile else ''}",
        f"- versions: {', '.join(f'{name} {version}' for name, version in manifest['versions'].items())}",
        f"- Pareto front, fastest first: {', '.join(choice.front)}",
        "",
    ]
    return "\n".join(lines)


def _slowest_layers(profile: Profile) -> list[str]:
    slowest = sorted(profile.layers, key=lambda layer: -layer["ms"])[:_LAYERS]
    rows = [
        [
            layer["name"],
            layer["operator"],
            layer["precision"],
            f"{layer['ms']:.3g} ms *estimated*",
            layer["bound"],
        ]
        for layer in slowest
    ]
    headings = ["layer", "operators", "precision", "time", "bound by"]
    return [
        f"The {len(slowest)} slowest of {len(profile.layers)} layers at batch {profile.latency[0].batch}:",
        "",
        *map(_line, [headings, ["---"] * len(headings), *rows]),
        "",
    ]


def _table(candidates: Sequence[Candidate], choice: Choice) -> list[str]:
    first = candidates[0].profile
    batches = [] if first is None else [latency.batch for latency in first.latency]
    headings = ["build", "accuracy", "drop, points (at most)"]
    for batch in batches:
        headings += [f"p50 at batch {batch}", "× fp32"]
    headings += ["bytes", "peak memory", "verdict"]
    rows = [_row(candidate, choice, len(batches)) for candidate in candidates]
    return [_line(headings), _line(["---"] * len(headings)), *map(_line, rows)]


def _row(candidate: Candidate, choice: Choice, batches: int) -> list[str]:
    name = candidate.recipe.name
    verdict = choice.verdicts[name]
    profile = candidate.profile
    if profile is None:
        return [name, *["–"] * (4 + 2 * batches), verdict]
    cells = [name, _accuracy(profile.accuracy), _drop(profile.accuracy.drop if profile.accuracy else None)]
    for latency in profile.latency:
        cells += [_latency(latency), "1" if latency.ratio is None else f"{latency.ratio:.2f}"]
    memory = "–" if profile.peak_memory_mb is None else f"{profile.peak_memory_mb:.3g} MiB"
    return [*cells, str(profile.artifact_bytes), memory, verdict]


def _accuracy(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "–"
    scale, unit = (100, " %") if accuracy.right_or_wrong else (1, "")
    low, high = accuracy.interval.low * scale, accuracy.interval.high * scale
    return f"{accuracy.mean * scale:.4g}{unit} ({low:.4g}–{high:.4g})"


def _drop(drop: Drop | None) -> str:
    return "–" if drop is None else f"{drop.points:.2f} ({drop.interval.high:.2f})"


def _latency(latency: Latency) -> str:
    mark = " *estimated*" if latency.source == "estimated" else ""
    return f"{latency.p50_ms:.3g} ms ({latency.interval.low:.3g}–{latency.interval.high:.3g}){mark}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
