"""The report of a run as one HTML file: it opens from disk, loads nothing, and sends nothing anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from compress.recipe import Step
from compress.records.profile import Latency, Profile
from compress.reports.comparison import Comparison
from compress.reports.decoding import section as decoding
from compress.reports.evidence import quantization
from compress.reports.explanation import explanation_of
from compress.reports.explanation_text import section
from compress.reports.figures import (
    ESTIMATED,
    Figure,
    accuracy_figure,
    description,
    digits,
    drop_figure,
    drop_unit,
    drops_of,
    latency_figure,
    ratio_figure,
    size_text,
)
from compress.reports.figures_csv import figures_csv
from compress.reports.layers import layers
from compress.reports.markup import Child, Markup, asset, fill, join, tag
from compress.reports.pareto_plot import Kind, Point, draw, front_at, points_of, symbol
from compress.reports.provenance import origin, provenance, reproduction
from compress.reports.run import Run, read_run
from compress.reports.slices import slices
from compress.reports.tables import MISSING, Cell, details, pairs, table
from compress.reports.timings import at, condition_text

#: Width and height of the plot in px, for a desktop and for a phone; the style sheet shows one of them.
_SIZES = {"wide": (928, 470), "narrow": (340, 380)}

#: So many warnings are shown at once; more are folded away.
_UNFOLDED = 5


def render(bundle_directory: Path) -> str:
    """Render the report of the run that wrote a bundle.

    Raises:
        BundleError: There is no bundle, it was changed or damaged, or it records no run.
    """
    return page(read_run(bundle_directory))


def page(run: Run) -> str:
    """Return the whole document."""
    sections = [
        ("accuracy-and-latency", "Accuracy and latency", _plots(run)),
        ("tried", "What was tried", _candidates(run)),
        (
            "bought",
            "What each technique bought",
            section(explanation_of(run.manifest, run.choice, run.candidates)),
        ),
        ("slices", "Accuracy class by class", slices(run)),
        *(
            [("writing", "Speed of writing text", decoding(speeds))]
            if (speeds := run.profile.decoding)
            else []
        ),
        ("layers", "Layer by layer", layers(run)),
        ("quantization", "Quantization and fusion", quantization(run)),
        ("provenance", "Data and provenance", provenance(run)),
        ("reproduce", "How to reproduce", reproduction(run)),
    ]
    return _document(
        f"{run.shipped} for {run.manifest['target']['name']}",
        _summary(run),
        sections,
        run.manifest["versions"].get("compress-toolkit", ""),
    )


def comparison_page(comparison: Comparison) -> str:
    """Return builds side by side as one HTML document.

    Args:
        comparison: Figures of the builds.
    """
    from importlib.metadata import version

    figures = table(
        "Each figure of each build, with its interval",
        ["figure", *comparison.names],
        ((name, *values) for name, values in comparison.rows),
    )
    notes = tag("ul", *(tag("li", note) for note in comparison.notes))
    sections = [("sides", "Figures", figures)]
    if comparison.notes:
        sections.append(("notes", "What keeps them from being compared", notes))
    title = f"{len(comparison.names)} builds side by side"
    return _document(title, tag("h1", title), sections, version("compress-toolkit"))


def _document(title: str, summary: Markup, sections: Sequence[tuple[str, str, Markup]], version: str) -> str:
    style, script = join([asset("report.css"), asset("plot.css")]), asset("report.js")
    return fill(
        asset("report.html"),
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'",
        title=title,
        style=style,
        script=script,
        summary=summary,
        contents=join(tag("li", tag("a", heading, href=f"#{name}")) for name, heading, _ in sections),
        sections=join(_section(*section) for section in sections),
        version=version,
    )


def plot_svg(run: Run, index: int = 0) -> str:
    """Return the plot of one batch size as SVG for a README; light or dark as its reader prefers.

    Args:
        run: Run to draw.
        index: Index of the batch size, from 0.
    """
    return _plot(run, index, *_SIZES["wide"], standalone=True) + "\n"


def _summary(run: Run) -> Markup:
    profile, latency = run.profile, run.profile.latency[0]
    facts = [
        (f"time over fp32's, batch {latency.batch}", _ratio(latency)),
        (
            f"median of one call, batch {latency.batch}",
            latency_figure(latency).stacked(estimated=run.estimated),
        ),
    ]
    if profile.accuracy is not None:
        facts.append((profile.accuracy.metric, accuracy_figure(profile.accuracy).stacked()))
        if profile.accuracy.drop is not None:
            facts.append(
                (f"accuracy drop, {profile.accuracy.drop.unit}", drop_figure(profile.accuracy.drop).stacked())
            )
        facts += [
            (name, Figure(f"{value:.3g}", "").stacked()) for name, value in profile.accuracy.beside.items()
        ]
    greedy = profile.greedy
    if greedy is not None and greedy.median is not None:
        same = Figure(f"{greedy.median:g} tokens", f"{greedy.whole} of {len(greedy.answers)} whole")
        facts.append((f"median of the same greedy text, of {greedy.asked} at most", same.stacked()))
    before = ""
    if run.original is not None and run.original.artifact_sha256 != profile.artifact_sha256:
        before = f"fp32: {size_text(run.original.artifact_bytes)}"
    facts.append(("size", Figure(size_text(profile.artifact_bytes), before).stacked()))
    parts = [
        tag("p", f"Compression report for {run.manifest['target']['name']}", class_="kicker"),
        tag("h1", run.shipped, " is shipped"),
        *(tag("p", f"{reason}.", class_="lede") for reason in [_reason(run)] if reason),
        tag("p", origin(run), class_="kicker"),
        tag("dl", *(tag("div", tag("dt", term), tag("dd", text)) for term, text in facts), class_="facts"),
    ]
    if run.estimated:
        note = (
            " latencies: a roofline over the target's peaks, since no such machine was at hand. "
            "Accuracy was measured, by running the very graph."
        )
        parts.append(tag("p", ESTIMATED, note, class_="note"))
    return join(parts)


def _reason(run: Run) -> str:
    """Return the reason of the choice as a sentence that does not name the build again."""
    reason = str(run.manifest["reason"]).removeprefix("shipped: ").removeprefix(run.shipped)
    reason = reason.removeprefix(", ").removeprefix("which ")
    return f"{reason[:1].upper()}{reason[1:]}"


def _plots(run: Run) -> Markup:
    original = run.original
    if original is None:
        return tag("p", "The original was not measured, so there is nothing to compare with.")
    conditions = [condition_text(latency).removeprefix("batch ") for latency in original.latency]
    switch = tag(
        "fieldset",
        tag("legend", "Batch size"),
        *(
            tag(
                "label",
                tag("input", type="radio", name="batch", value=f"batch-{index}", checked=index == 0),
                f" {condition}",
            )
            for index, condition in enumerate(conditions)
        ),
        class_="switch",
        hidden=True,
    )
    figures = [_figure(run, index, latency) for index, latency in enumerate(original.latency)]
    return join([switch if len(conditions) > 1 else "", *figures])


def _figure(run: Run, index: int, original: Latency) -> Markup:
    drawings = [
        tag("div", _plot(run, index, *size), class_=f"drawing {name}") for name, size in _SIZES.items()
    ]
    front = ", ".join(front_at(run.candidates, original))
    caption = tag(
        "figcaption",
        f"{condition_text(original).capitalize()}. Each bar is a confidence interval. Both axes are relative to fp32, "
        f"the square at 1× and 0, as measured in turns with it; milliseconds above are multiples of its median, "
        f"{latency_figure(original)}",
        join([" ", ESTIMATED]) if original.source == "estimated" else "",
        f". On the Pareto front, fastest first: {front}. ",
        tag("a", "The same figures as a table", href="#tried"),
        ".",
    )
    return tag(
        "figure", *drawings, _legend(), caption, id=f"batch-{index}", aria_label=f"Batch {original.batch}"
    )


def _plot(run: Run, index: int, width: int, height: int, *, standalone: bool = False) -> Markup:
    original = run.original
    if original is None:
        raise ValueError("the original was not measured")
    accuracy = original.accuracy
    latency = original.latency[index]
    points = _points(run, latency)
    unit = drop_unit(drops_of(entry.profile for entry in run.candidates))
    word = "estimated latency" if latency.source == "estimated" else "latency"
    return draw(
        points,
        front_at(run.candidates, latency),
        width=width,
        height=height,
        title=f"Accuracy against {word} at batch {latency.batch}, relative to fp32, {len(points)} builds",
        accuracy=f"{'accuracy' if accuracy is None else accuracy.metric}, {unit}",
        original_ms=latency.p50_ms,
        estimated=latency.source == "estimated",
        standalone=standalone,
    )


def _points(run: Run, like: Latency) -> list[Point]:
    texts = [
        ""
        if entry.profile is None
        else description(
            entry.recipe.name,
            run.choice.verdicts[entry.recipe.name],
            entry.profile.accuracy,
            at(entry.profile, like) or entry.profile.latency[0],
        )
        for entry in run.candidates
    ]
    return points_of(run.candidates, run.shipped, like, texts)


def _legend() -> Markup:
    entries: dict[Kind, str] = {
        "shipped": "shipped",
        "original": "fp32",
        "front": "on the front",
        "other": "behind it",
    }
    keys = [
        tag(
            "li",
            tag("svg", symbol(kind, 12, 12), viewBox="0 0 24 24", class_="key", aria_hidden="true"),
            text,
        )
        for kind, text in entries.items()
    ]
    line = tag("polyline", points="1,12 27,12", class_="front-line")
    keys.append(
        tag(
            "li",
            tag("svg", line, viewBox="0 0 28 24", class_="key plot", aria_hidden="true"),
            "Pareto front",
        )
    )
    return tag("ul", *keys, class_="legend", aria_label="Legend")


def _candidates(run: Run) -> Markup:
    original = run.original
    timed = () if original is None else original.latency
    unit = drop_unit(drops_of(entry.profile for entry in run.candidates))
    headings = ["build", "verdict", "accuracy", f"drop, {unit}"]
    headings += [f"{condition_text(latency)}, over fp32's and median" for latency in timed]
    headings += ["size and peak memory", "steps"]
    rows: list[list[Child]] = []
    for entry in run.candidates:
        name = entry.recipe.name
        cells = _measured_cells(entry.profile, timed)
        steps = join([_step(step, first=at == 0) for at, step in enumerate(entry.recipe.steps)] or ["none"])
        build_cell = Cell(
            join([steps, tag("br"), tag("small", f"tried in {entry.seconds:.1f} s")]), entry.seconds, False
        )
        verdict: Child = Cell(run.choice.verdicts[name], number=False)
        if name == run.shipped:
            verdict = Cell(tag("strong", "★ shipped"), number=False)
        rows.append([name, verdict, *cells, build_cell])
    marks = [index for index, entry in enumerate(run.candidates) if entry.recipe.name == run.shipped]
    level = (
        "Brackets hold confidence intervals: 95 % for accuracy and measured times, 90 % for the paired drop, whose "
        "upper end is its 95 % bound."
    )
    if run.estimated:
        share = 100 * run.profile.latency[0].interval.level
        level += f" For estimated times {share:.0f} % of networks are expected inside."
    build_table = table("Every build that was tried", headings, rows, sortable=True, marked=marks[0])
    download = tag(
        "a",
        "Download these figures as CSV",
        href=f"data:text/csv,{quote(figures_csv(run))}",
        download="figures.csv",
    )
    return join([tag("p", level), build_table, tag("p", download), _warnings(run)])


def _warnings(run: Run) -> Markup:
    """Return the reasons to doubt measured figures, build by build."""
    items = [
        tag("li", tag("strong", entry.recipe.name), f": {warning}")
        for entry in run.candidates
        if entry.profile is not None
        for warning in entry.profile.warnings
    ]
    if not items:
        return join([])
    doubts = "1 doubt" if len(items) == 1 else f"{len(items)} doubts"
    return details(f"▲ {doubts} about these figures", tag("ul", *items), opened=len(items) <= _UNFOLDED)


def _step(step: Step, *, first: bool) -> Markup:
    settings = [tag("small", f" {pairs(step.settings)}")] if step.settings else []
    return join(["" if first else " → ", step.technique, *settings])


def _measured_cells(profile: Profile | None, timed: Sequence[Latency]) -> Sequence[Child]:
    if profile is None:
        return [MISSING] * (3 + len(timed))
    accuracy = profile.accuracy
    cells: list[Child] = [MISSING, MISSING]
    if accuracy is not None:
        cells[0] = Cell(accuracy_figure(accuracy).stacked(), accuracy.mean)
        if accuracy.drop is not None:
            cells[1] = Cell(drop_figure(accuracy.drop).stacked(), accuracy.drop.points)
    cells += [_time_cell(at(profile, like)) for like in timed]
    memory = profile.peak_memory_mb
    peak = "" if memory is None else tag("small", f"{digits(memory)} MiB")
    size = tag("span", size_text(profile.artifact_bytes), class_="value")
    return [*cells, Cell(join([size, peak]), profile.artifact_bytes)]


def _time_cell(latency: Latency | None) -> Cell:
    """Return time over fp32's, and below it the median and the 99th percentile; sorted by the ratio."""
    if latency is None:
        return MISSING
    parts: list[Child] = [] if latency.ratio is None else [ratio_figure(latency).stacked(), " "]
    parts.append(latency_figure(latency).stacked(estimated=latency.source == "estimated"))
    if latency.p99_ms is not None:
        parts += [" ", tag("small", f"p99 {digits(latency.p99_ms)} ms")]
    return Cell(join(parts), 1.0 if latency.ratio is None else latency.ratio)


def _ratio(latency: Latency) -> Markup:
    # That fp32 takes its own time is no estimate.
    return ratio_figure(latency).stacked(
        estimated=latency.ratio is not None and latency.source == "estimated"
    )


def _section(name: str, heading: str, content: Markup) -> Markup:
    title = tag("h2", heading, id=f"{name}-heading")
    return tag("section", title, content, id=name, aria_labelledby=f"{name}-heading")


def _hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows one inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
