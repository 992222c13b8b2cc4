"""The report of a run in Markdown: the candidates, the choice, and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compress.reports import decoding
from compress.reports.explanation import explanation_of
from compress.reports.explanation_text import markdown
from compress.reports.figures import digits, drop_figure, drop_unit, drops_of
from compress.reports.gate_markdown import cell, code
from compress.reports.layers import layers_of, time_text
from compress.reports.slices import finding, worst_first
from compress.reports.tables import pairs
from compress.reports.timings import aligned, at, condition_text
from compress.search.limits import energy_of

if TYPE_CHECKING:
    from compress.records.decoder_speed import DecoderSpeed
    from compress.records.profile import Accuracy, Drop, Latency, Profile, Slice
    from compress.search.decision import Choice
    from compress.search.run_directory import Candidate


class _Marked(str):
    """Text that is Markdown already."""

    __slots__ = ()


_RULE = _Marked("---")

#: How many layers and classes the report names.
_NAMED = 10


def report(manifest: dict[str, Any], choice: Choice, candidates: Sequence[Candidate]) -> str:
    """Return the whole report.

    Args:
        manifest: Manifest of the bundle.
        choice: Choice that was made.
        candidates: All candidates that were tried, the original first.
    """
    shipped = choice.candidate
    profile = None if shipped is None else shipped.profile
    target, network, data = manifest["target"], manifest["network"], manifest["data"]
    lines = [
        f"# {cell(manifest['name'])} for {cell(target['name'])}",
        "",
        f"{cell(choice.reason)}.",
        "",
        *_table(candidates, choice),
        "",
        *(line for note in manifest.get("notes", ()) for line in (f"{cell(note)}.", "")),
    ]
    if profile is not None and profile.latency[0].source == "estimated":
        share = 100 * profile.latency[0].interval.level
        lines += [
            "Latencies are **estimated** by a roofline over the target's peaks: no such machine was at hand. "
            f"{share:.0f} % of networks are expected inside the brackets. "
            "Accuracy was measured here, by running the very graph.",
            "",
        ]
    if profile is not None:
        lines += worst_slices(profile.slices)
    if shipped is not None:
        lines += slowest_layers(shipped)
    beside = {} if profile is None or profile.accuracy is None else profile.accuracy.beside
    if beside:
        lines.append(
            f"- recorded beside the accuracy: {cell(pairs({k: f'{v:.3g}' for k, v in beside.items()}))}"
        )
    if profile is not None:
        lines += writing_speeds(profile.decoding)
    if shipped is not None:
        lines += markdown(explanation_of(manifest, choice, candidates))
    lines += [
        f"- network: {code(network['path'])} ({cell(network['format'])}, sha256 `{network['sha256'][:12]}`)",
        f"- data: {cell(data['metric'])} on {profile.accuracy.samples if profile and profile.accuracy else 0} samples",
        f"- artifact: {code(manifest['artifact']['file'])}, sha256 `{manifest['artifact']['sha256'][:12]}`",
        f"- session options: {cell(pairs(manifest['artifact']['options']))}",
        f"- machine: {cell(pairs(profile.fingerprint)) if profile else ''}",
        f"- versions: {cell(pairs(manifest['versions']))}",
        f"- Pareto front, fastest first: {cell(', '.join(choice.front))}",
        "",
    ]
    return "\n".join(lines)


def worst_slices(slices: Sequence[Slice]) -> list[str]:
    """Return a table of the classes with the greatest drops; empty where no drop is known."""
    judged = [part for part in worst_first(slices) if part.drop is not None]
    if not judged:
        return []
    rows = [
        [part.name, str(drop_figure(part.drop)), finding(part), str(part.samples)]
        for part in judged[:_NAMED]
        if part.drop is not None
    ]
    headings = ["class", f"drop, {drop_unit(part.drop for part in judged)}", "finding", "samples"]
    return [
        f"Accuracy class by class, the {len(rows)} worst of {len(judged)} classes. The intervals hold together, with "
        "90 % confidence for all of them (Bonferroni):",
        "",
        _line(headings),
        _line([_RULE] * len(headings)),
        *map(_line, rows),
        "",
    ]


def slowest_layers(candidate: Candidate) -> list[str]:
    """Return a table of the layers that take longest; empty where no time is known."""
    layers = [layer for layer in layers_of(candidate) if layer.ms is not None]
    if not layers or candidate.profile is None:
        return []
    rows = [
        [
            layer.name,
            layer.operator,
            layer.precision or "–",
            _Marked(cell(time_text(layer.ms or 0.0)) + (" *estimated*" if layer.estimated else "")),
            "–" if layer.share is None else f"{100 * layer.share:.1f} %",
            layer.bound or "–",
        ]
        for layer in layers[:_NAMED]
    ]
    headings = ["layer", "operators", "precision", "time", "share", "bound by"]
    return [
        f"The {len(rows)} slowest of {len(layers)} layers at batch {candidate.profile.latency[0].batch}:",
        "",
        _line(headings),
        _line([_RULE] * len(headings)),
        *map(_line, rows),
        "",
    ]


def writing_speeds(speeds: Sequence[DecoderSpeed]) -> list[str]:
    """Return a table of a decoder's speed; empty where none was measured."""
    if not speeds:
        return []
    return [
        "",
        f"{decoding.TITLE}:",
        "",
        _line(decoding.HEADINGS),
        _line([_RULE] * len(decoding.HEADINGS)),
        *(_line([str(figure) for figure in decoding.figures_of(speed)]) for speed in speeds),
        "",
        f"{cell(decoding.conditions_text(speeds))}.",
        "",
    ]


def _table(candidates: Sequence[Candidate], choice: Choice) -> list[str]:
    first = candidates[0].profile
    timed = () if first is None else first.latency
    unit = drop_unit(drops_of(candidate.profile for candidate in candidates))
    headings = ["build", "accuracy", f"drop, {unit} (at most)"]
    for latency in timed:
        headings += [f"p50 at {condition_text(latency)}", "× fp32"]
    energy = any(entry.profile is not None and entry.profile.energy_mj is not None for entry in candidates)
    headings += ["bytes", "peak memory", *(["energy of a sample", "power"] if energy else []), "verdict"]
    rows = [_row(candidate, choice, timed, energy=energy) for candidate in aligned(candidates)]
    return [_line(headings), _line([_RULE] * len(headings)), *map(_line, rows)]


def _row(
    candidate: Candidate, choice: Choice, timed: Sequence[Latency], *, energy: bool = False
) -> list[str]:
    name = candidate.recipe.name
    verdict = choice.verdicts[name]
    profile = candidate.profile
    if profile is None:
        return [name, *["–"] * (4 + 2 * len(timed) + 2 * energy), verdict]
    cells = [name, _accuracy(profile.accuracy), _drop(profile.accuracy.drop if profile.accuracy else None)]
    for like in timed:
        latency = at(profile, like)
        if latency is None:
            cells += ["–", "–"]
        else:
            cells += [_latency(latency), "1" if latency.ratio is None else f"{latency.ratio:.2f}"]
    memory = "–" if profile.peak_memory_mb is None else f"{digits(profile.peak_memory_mb)} MiB"
    spent = [_energy(profile), _power(profile)] if energy else []
    return [*cells, str(profile.artifact_bytes), memory, *spent, verdict]


def _energy(profile: Profile) -> str:
    figure = energy_of(profile)
    batch = profile.energy_batch or profile.latency[0].batch
    return "–" if figure is None else f"{digits(figure.value)} mJ at batch {batch}"


def _power(profile: Profile) -> str:
    return "–" if profile.power_w is None else f"{digits(profile.power_w)} W"


def _accuracy(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "–"
    scale, unit = (100, " %") if accuracy.in_percent else (1, "")
    low, high = accuracy.interval.low * scale, accuracy.interval.high * scale
    return f"{accuracy.mean * scale:.4g}{unit} ({low:.4g}–{high:.4g})"


def _drop(drop: Drop | None) -> str:
    return "–" if drop is None else f"{drop.points:.2f} ({drop.interval.high:.2f})"


def _latency(latency: Latency) -> str:
    mark = " *estimated*" if latency.source == "estimated" else ""
    low, high = digits(latency.interval.low), digits(latency.interval.high)
    return _Marked(f"{digits(latency.p50_ms)} ms ({low}–{high}){mark}")


def _line(cells: Sequence[str]) -> str:
    return (
        "| "
        + " | ".join(content if isinstance(content, _Marked) else cell(content) for content in cells)
        + " |"
    )
