"""The account of a search in words: lines for the terminal, and sections of the reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from compress.reports.gate_markdown import cell
from compress.reports.markup import Child, Markup, join, tag
from compress.reports.tables import MISSING, Cell, details, table

if TYPE_CHECKING:
    from compress.reports.explanation import Change, Explanation, Gain

#: Headings of the table of gains.
_HEADINGS = ("build", "over", "adds", "accuracy lost", "time", "size")


def sections(explanation: Explanation) -> Iterator[tuple[str, list[str]]]:
    """Yield the parts of the account: a heading, and its lines."""
    original = explanation.original
    bought = [gain_text(gain) for gain in explanation.steps]
    yield "What each technique bought, in order:", bought or [f"nothing: {original} is shipped"]
    if explanation.rejected:
        rejected = [f"{gain_text(gain)} — {gain.verdict}" for gain in explanation.rejected]
        yield "Measured and not shipped:", rejected
    if explanation.unmeasured:
        yield (
            "Tried without a measured build:",
            [f"{name}: {why}" for name, why in explanation.unmeasured.items()],
        )
    if explanation.untried:
        yield "Not tried for want of time:", [", ".join(explanation.untried)]
    if explanation.predictions:
        yield "What pruning predicted, and what was measured:", list(explanation.predictions)
    if explanation.greedy is not None:
        yield "Text that it writes, which decides nothing:", [explanation.greedy]
    for resource, sentences in (
        ("More data", explanation.more_data),
        ("More time", explanation.more_time),
        ("Another target", explanation.another_target),
    ):
        if sentences:
            yield f"{resource} would buy:", list(sentences)


def gain_text(gain: Gain) -> str:
    """Return a gain in one line."""
    figures = [
        f"{_accuracy(gain)} lost" if gain.lost is not None else "accuracy not compared",
        f"{_time(gain)} the time" if gain.time is not None else "time not compared",
        f"{gain.size:.2f}× the size",
    ]
    added = " + ".join(gain.added) or "nothing"
    return f"{gain.name}, over {gain.over} with {added}: {', '.join(figures)}"


def markdown(explanation: Explanation) -> list[str]:
    """Return the lines of the account for the Markdown report."""
    lines = ["## What each technique bought", ""]
    for heading, part in sections(explanation):
        lines += [heading, "", *(f"- {cell(line)}" for line in part), ""]
    return lines


def section(explanation: Explanation) -> Markup:
    """Return the account for the HTML report."""
    parts: list[Child] = []
    if explanation.steps:
        parts.append(_table("What each technique bought, in order", explanation.steps))
    else:
        parts.append(tag("p", f"Nothing: {explanation.original} is shipped."))
    if explanation.rejected:
        parts.append(
            details(
                f"{len(explanation.rejected)} builds that were not shipped",
                _table("What the other builds bought", explanation.rejected),
            )
        )
    for heading, lines in sections(explanation):
        if not heading.startswith(("What each", "Measured")):
            parts += [tag("h3", heading), tag("ul", *(tag("li", line) for line in lines))]
    parts.append(
        tag(
            "p",
            "Brackets hold what the two builds' own intervals allow together: 95 % for times, 90 % for drops, each "
            "against fp32.",
        )
    )
    return join(parts)


def _table(caption: str, gains: Sequence[Gain]) -> Markup:
    rows = [
        [
            gain.name,
            gain.over,
            " + ".join(gain.added),
            MISSING if gain.lost is None else Cell(_accuracy(gain), gain.lost.value),
            MISSING if gain.time is None else Cell(_time(gain), gain.time.value),
            Cell(f"{gain.size:.2f}×", gain.size),
        ]
        for gain in gains
    ]
    return table(caption, _HEADINGS, rows)


def _accuracy(gain: Gain) -> str:
    return "–" if gain.lost is None else f"{_signed(gain.lost.value)} {gain.unit}{_ends(gain.lost)}"


def _time(gain: Gain) -> str:
    if gain.time is None:
        return "–"
    mark = "estimated " if gain.estimated else ""
    return f"{mark}{gain.time.value:.2f}×{_ends(gain.time)}"


def _ends(change: Change) -> str:
    if change.low is None or change.high is None:
        return ""
    return f" ({_signed(change.low)} to {_signed(change.high)})"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
