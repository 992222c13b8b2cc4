"""The verdict of a gate in Markdown, as a pull request or GitHub's step summary shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.core.plain_text import one_line
from compress.gate.verdict import overall

if TYPE_CHECKING:
    from compress.errors import CompressError
    from compress.gate.verdict import Check

_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "skipped": "➖"}


def gate_markdown(checks: Sequence[Check], candidate: str, baseline: str, note: str | None = None) -> str:
    """Return Markdown with the verdict as heading, and a table with a row for each check.

    Args:
        checks: Checks of the gate.
        candidate: Candidate, as the user wrote it.
        baseline: Baseline, as the user wrote it.
        note: Further note on the two; None for none.
    """
    lines = [
        f"### compress gate: {overall(checks)}",
        "",
        f"{cell(candidate)} against {cell(baseline)}",
        "",
        "| check | verdict | figures |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {check.name} | {_MARKS[check.verdict]} {check.verdict} | {cell(check.detail)} |"
        for check in checks
    ]
    if note is not None:
        lines += ["", f"Note: {cell(note)}"]
    return "\n".join(lines) + "\n"


def gate_error_markdown(error: CompressError, candidate: str, baseline: str) -> str:
    """Return Markdown that says why the gate could not run."""
    lines = [
        "### compress gate: error",
        "",
        f"{cell(candidate)} against {cell(baseline)}: {cell(str(error))}",
    ]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Escape a name for a table cell, so that nothing in it becomes markup."""
    text = one_line(text)
    for character in "\\`*_[]<>|#~$&":
        text = text.replace(character, "\\" + character)
    return "\\" + text if text[:1] in ("+", "-", "=") and text[1:2] in ("", " ", text[:1]) else text


def code(text: str) -> str:
    """Format a name as code, or escaped as in a cell where it contains a character that could end the code."""
    shown = one_line(text)
    return f"`{shown}`" if shown and not set("`<>|&") & set(shown) else cell(shown)
