"""The table of a run's builds, and what is said below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from compress.cli.figure_text import accuracy_text
from compress.cli.tables import Name, plain_table
from compress.core.plain_text import plain
from compress.reports.figures import digits, drop_unit, drops_of, size_text
from compress.reports.timings import aligned, at
from compress.search.limits import cost_of, energy_of

if TYPE_CHECKING:
    from compress.api.optimize import OptimizeResult
    from compress.records.profile import Latency
    from compress.search.run_directory import Candidate


def result_table(result: OptimizeResult) -> Table:
    """Return a table with a line for each candidate: accuracy, drop, latency at each batch size, size."""
    first = result.candidates[0].profile
    timed = first.latency if first is not None else ()
    estimated = first is not None and first.latency[0].source == "estimated"
    metric = first.accuracy.metric if first is not None and first.accuracy is not None else "accuracy"
    unit = drop_unit(drops_of(entry.profile for entry in result.candidates))
    table = plain_table()
    table.add_column("build")
    table.add_column(metric, justify="right", no_wrap=True)
    table.add_column(Text(f"drop (≤)\n{unit}"), justify="right", no_wrap=True)
    for latency in timed:
        table.add_column(_heading(latency), justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    decisive = _spent(result)
    if decisive is not None:
        table.add_column(Text(decisive[0]), justify="right", no_wrap=True)
    for candidate, compared in zip(result.candidates, aligned(result.candidates), strict=True):
        style = "bold green" if candidate is result.choice.candidate else ""
        spent = () if decisive is None else (decisive[1].get(candidate.recipe.name, "–"),)
        table.add_row(*_cells(compared, timed), *spent, style=style)
    if first is not None and estimated:
        shown, interval = first.latency[0], first.latency[0].interval
        table.caption = (
            f"times: ms ESTIMATED for {plain(result.target.name)} by a roofline, and over fp32's estimate; "
            f"{100 * interval.level:.0f} % of networks are expected within "
            f"{interval.low / shown.p50_ms:.2f}–{interval.high / shown.p50_ms:.2f}× of it"
        )
    else:
        table.caption = "times: × fp32's in the same turns; ms: that × fp32's median over the run"
    return table


def _spent(result: OptimizeResult) -> tuple[str, dict[str, str]] | None:
    """Return the heading and the figures of energy or money, by the build's name; None where they decide nothing."""
    limits, figures = result.limits, {}
    if limits.objective not in ("energy", "cost"):
        return None
    original = result.candidates[0].profile
    for entry in result.candidates:
        if entry.profile is not None:
            price = limits.price
            figure = energy_of(entry.profile) if price is None else cost_of(entry.profile, price, original)
            if figure is not None:
                figures[entry.recipe.name] = digits(figure.value)
    if limits.price is None:
        return "energy\nmJ a sample", figures
    return f"cost\n{plain(limits.price.currency)} a million", figures


def verdict_lines(result: OptimizeResult) -> list[str]:
    """Return the reason against each build that is not shipped, a line for each."""
    chosen = result.choice.candidate
    shipped = None if chosen is None else chosen.recipe.name
    return [f"{name}: {why}" for name, why in result.choice.verdicts.items() if name != shipped]


def warning_lines(result: OptimizeResult) -> list[str]:
    """Return a board's warnings on each build, such as layers that left the accelerator."""
    return [
        f"warning: {entry.recipe.name}: {warning}"
        for entry in result.candidates
        if entry.profile is not None and entry.profile.backend == "tensorrt"
        for warning in entry.profile.warnings
    ]


def _heading(latency: Latency) -> Text:
    paced = "" if latency.period_ms is None else f"every {latency.period_ms:.3g} ms\n"
    return Text(f"batch {latency.batch}\n{paced}ms × fp32")


def _cells(candidate: Candidate, timed: Sequence[Latency]) -> list[RenderableType]:
    profile = candidate.profile
    name = Name(candidate.recipe.name)
    if profile is None:
        return [name, *["–"] * (3 + len(timed))]
    drop = profile.accuracy.drop if profile.accuracy else None
    return [
        name,
        accuracy_text(profile.accuracy),
        "–" if drop is None else f"{drop.points:.2f} ({drop.interval.high:.2f})",
        *(_latency_cell(at(profile, like)) for like in timed),
        size_text(profile.artifact_bytes),
    ]


def _latency_cell(latency: Latency | None) -> str:
    if latency is None:
        return "–"
    mark = "≈" if latency.source == "estimated" else ""
    ratio = "" if latency.ratio is None else f" {_ratio_text(latency.ratio)}×"
    return f"{mark}{digits(latency.p50_ms)}{ratio:6}"


def _ratio_text(ratio: float) -> str:
    """Format a ratio with two decimals, and fewer where it is so large that they mean nothing."""
    return f"{ratio:.2f}" if ratio < 9.995 else digits(ratio)
