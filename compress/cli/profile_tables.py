"""The tables of ``compress profile``: latency by batch size, scenarios, time by operator, and doubts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from compress.cli.figure_text import accuracy_text
from compress.cli.tables import plain_table
from compress.core.plain_text import plain
from compress.profiling.breakdown import UNACCOUNTED, by_operator
from compress.profiling.latency import LEAST_CALLS
from compress.profiling.scenarios import CLOSE, best, knee
from compress.reports import decoding
from compress.reports.figures import digits, size_text

if TYPE_CHECKING:
    from compress.measuring.power_modes import PowerModeSweep
    from compress.records.decoder_speed import DecoderSpeed
    from compress.records.profile import Interval, Latency, Profile, Scenario

#: Types of operators that are shown; what is left is one line.
_OPERATORS = 6

#: Units of time, and how many of them a millisecond has.
_UNITS = (("s", 1e-3), ("ms", 1.0), ("µs", 1e3), ("ns", 1e6))


def profile_tables(profile: Profile) -> list[Table | Text]:
    """Return the main figures of a profile: tables, and lines of text."""
    parts: list[Table | Text] = [_latencies(profile.latency, f"{profile.recipe} on {profile.target}")]
    if len(profile.latency) > 2:
        parts.append(_knee(profile.latency))
    if profile.scenarios:
        parts.append(_scenarios(profile.scenarios))
    if profile.decoding:
        parts.append(_decoding(profile.decoding))
    for scenario in profile.scenarios:
        if len(scenario.sweep) > 1:
            parts += [_latencies(scenario.sweep, "offline"), _knee(scenario.sweep)]
    if any(layer.share is not None for layer in profile.layers):
        parts.append(_operators(profile))
    parts.append(Text("\n".join(map(plain, _facts(profile)))))
    if profile.warnings:
        parts.append(
            Text("Too noisy to say, or too short: measure again, or longer with --seconds.", style="bold")
        )
        parts += [Text(plain(f"warning: {warning}"), style="yellow") for warning in profile.warnings]
    return parts


def _latencies(latencies: tuple[Latency, ...], title: str) -> Table:
    """Return a table with a line for each batch size, in the unit that suits its median."""
    heading = f"{title}: time of a call (95 % interval)"
    table = _table(heading, "batch", "p50", "p90", "p99", "unit", "samples/s", "calls")
    for latency in latencies:
        unit, scale = next(
            (unit, scale) for unit, scale in _UNITS if latency.p50_ms * scale >= 1 or unit == "ns"
        )
        table.add_row(
            str(latency.batch),
            Text(_figure(latency.p50_ms, latency.interval, scale, "\n")),
            Text(_figure(latency.p90_ms, latency.p90_interval, scale, "\n")),
            Text(_figure(latency.p99_ms, latency.p99_interval, scale, "\n")),
            unit,
            digits(latency.throughput_per_s),
            str(latency.iterations),
        )
    if any(latency.p99_ms is None for latency in latencies):
        table.caption = f"– too few calls: p90 needs {LEAST_CALLS[90]}, p99 needs {LEAST_CALLS[99]}"
    return table


def _knee(latencies: tuple[Latency, ...]) -> Text:
    highest, smallest = best(latencies), knee(latencies)
    sentence = f"highest throughput at batch {highest.batch}: {digits(highest.throughput_per_s)} samples/s"
    if smallest != highest.batch:
        sentence += f"; within {100 * (1 - CLOSE):.0f} % of it from batch {smallest} on (the knee)"
    return Text(sentence)


def _scenarios(scenarios: tuple[Scenario, ...]) -> Table:
    table = _table("MLPerf scenarios", "scenario", "what counts", "figure", "early stopping", "queries")
    for scenario in scenarios:
        if scenario.percentile is None:
            counts, figure = "samples/s", f"{digits(scenario.throughput_per_s)} at batch {scenario.batch}"
        else:
            counts = f"p{scenario.percentile}, ms"
            figure = _figure(scenario.latency_ms, scenario.interval)
        stopping = scenario.early_stopping_ms
        early = "–" if stopping is None else f"< {digits(stopping)} (99 %)"
        table.add_row(scenario.name, counts, figure, early, str(scenario.queries))
    return table


def _decoding(speeds: tuple[DecoderSpeed, ...]) -> Table:
    table = _table(decoding.TITLE, *(heading.replace(", ", "\n") for heading in decoding.HEADINGS))
    for speed in speeds:
        figures = decoding.figures_of(speed)
        table.add_row(*(Text("\n".join(filter(None, [value, between]))) for value, between in figures))
    table.caption = plain(decoding.conditions_text(speeds))
    return table


def _operators(profile: Profile) -> Table:
    """Return a table of the operator types that take longest, at the first batch size."""
    table = _table(
        f"where the time goes, batch {profile.latency[0].batch}",
        "operator",
        "count",
        "share",
        "of its roofline*",
    )
    operators = by_operator(profile.layers)
    shown, between = operators[:-1][:_OPERATORS], operators[-1]
    for entry in shown:
        table.add_row(entry.operator, str(entry.count), _percent(entry.share), _roof(profile, entry.operator))
    others = operators[:-1][_OPERATORS:]
    if others:
        count, share = sum(entry.count for entry in others), sum(entry.share for entry in others)
        table.add_row("others", str(count), _percent(share), "–")
    table.add_row(UNACCOUNTED, "–", _percent(between.share), "–")
    table.caption = "* estimated: the peaks of the roofline are derived from the processor's data"
    return table


def power_mode_table(swept: PowerModeSweep) -> Table:
    """Return what was measured in each power mode: latency with its interval, energy and mean power of a call."""
    sizes = sorted(
        {latency.batch for entry in swept.modes if entry.profile for latency in entry.profile.latency}
    )
    table = _table(
        "power modes",
        "mode",
        "accuracy",
        *(f"batch {size} (ms)" for size in sizes),
        "energy (mJ)",
        "power (W)",
    )
    for entry in swept.modes:
        name = f"{entry.mode.name}{' *' if entry.mode == swept.found else ''}"
        profile = entry.profile
        if profile is None:
            table.add_row(name, f"not measured: {entry.reason}", *["–"] * (len(sizes) + 2))
            continue
        by_size = {latency.batch: latency for latency in profile.latency}
        figures = (by_size.get(size) for size in sizes)
        energy, first = profile.energy_mj, profile.latency[0].p50_ms if profile.latency else None
        table.add_row(
            name,
            "–" if profile.accuracy is None else accuracy_text(profile.accuracy),
            *("–" if latency is None else _figure(latency.p50_ms, latency.interval) for latency in figures),
            "–" if energy is None else digits(energy),
            "–" if energy is None or not first else digits(energy / first),
        )
    table.caption = (
        "* as the board was found, and is again; energy and power are of a call at the first batch size"
    )
    return table


def _roof(profile: Profile, operator: str) -> str:
    """Return roofline time over measured time, for the operators of a type with a roofline; – where none has one."""
    roofs, spent = 0.0, 0.0
    for layer in profile.layers:
        if layer.operator == operator and layer.roofline_share is not None and layer.ms is not None:
            roofs, spent = roofs + layer.roofline_share * layer.ms, spent + layer.ms
    return _percent(roofs / spent) if spent else "–"


def _threads_text(threads: int) -> str:
    if not threads:
        return "as many threads as the runtime chooses"
    return f"{threads} thread{'' if threads == 1 else 's'}"


def _facts(profile: Profile) -> Iterator[str]:
    """Return the figures measured beside latency, and the conditions."""
    facts = [size_text(profile.artifact_bytes)]
    if profile.accuracy is not None:
        facts.insert(0, f"{profile.accuracy.metric} {accuracy_text(profile.accuracy)}")
    if profile.peak_memory_mb is not None:
        facts.append(f"peak memory {digits(profile.peak_memory_mb)} MiB")
    if profile.energy_mj is not None:
        batch = "" if profile.energy_batch is None else f" at batch {profile.energy_batch}"
        facts.append(f"{profile.energy_mj:.3g} mJ a call{batch} ({_spender(profile)})")
    if profile.power_w is not None:
        facts.append(f"{profile.power_w:.3g} W")
    if profile.parts_ms:
        parts = (f"{name} {digits(milliseconds)} ms" for name, milliseconds in profile.parts_ms.items())
        facts.append(f"of a call: {', '.join(parts)}")
    yield ", ".join(facts)
    if profile.greedy is not None and (same := str(profile.greedy)):
        yield same
    now = profile.conditions or {}
    threads = now.get("intra_op_threads")
    settings = [] if threads is None else [_threads_text(threads)]
    if now.get("spinning") is not None:
        settings.append("spinning" if now["spinning"] else "not spinning")
    if now.get("affinity"):
        settings.append(f"processors {', '.join(map(str, now['affinity']))}")
    settings.append(f"governor {now.get('governor') or 'unknown'}")
    if now.get("load_average") is not None:
        settings.append(f"load {now['load_average']:g}")
    yield f"{profile.backend}: {', '.join(settings)}"
    spent = [
        f"{warm_up.calls} calls in {warm_up.seconds:.2g} s{'' if warm_up.steady else ', not steady'}"
        for latency in profile.latency
        if (warm_up := latency.warm_up) is not None
    ]
    if spent:
        yield f"warm-up: {'; '.join(spent)}"


def _figure(value_ms: float | None, interval: Interval | None, scale: float = 1.0, gap: str = " ") -> str:
    if value_ms is None or interval is None:
        return "–"
    value, low, high = (
        digits(scale * milliseconds) for milliseconds in (value_ms, interval.low, interval.high)
    )
    return f"{value}{gap}({low}–{high})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _table(title: str, *headings: str) -> Table:
    table = plain_table(title)
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position else "left", no_wrap=True)
    return table


def _spender(profile: Profile) -> str:
    """Return the name of the part whose energy was counted."""
    from compress.backends.providers import on_nvidia_gpu

    if profile.backend == "tensorrt":
        return "whole module or card"
    return "whole card" if on_nvidia_gpu(profile.options.get("provider")) else "whole package"
