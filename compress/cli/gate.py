"""``compress gate``: a CI job that rejects regressions, and never noise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from compress.api.build_options import GateOptions
from compress.cli.generated import GroupedCommand
from compress.cli.model_argument import build_options
from compress.cli.saying import say_wrapped
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text


@click.command(cls=GroupedCommand)
@click.argument("candidate", type=click.Path(), default="build")
@build_options(GateOptions)
@click.option(
    "--on-inconclusive",
    type=click.Choice(["pass", "fail", "inconclusive"]),
    default="inconclusive",
    show_default=True,
    help="Verdict of an undecided gate, with exit code 0, 1 or 3.",
)
@click.option("--junit", type=click.Path(dir_okay=False), help="File for the checks as JUnit XML.")
@click.option("--markdown", type=click.Path(dir_okay=False), help="File for the checks as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as one JSON object.")
def gate(
    candidate: str,
    options: dict[str, Any],
    on_inconclusive: str,
    junit: str | None,
    markdown: str | None,
    as_json: bool,
) -> int:
    """Accept or reject CANDIDATE, a bundle or an ONNX file (by default ./build), against a baseline.

    \b
    Example:
      compress gate build/ --baseline main-build/ --data val/ --max-drop 0.5

    On GitHub the table of checks is added to the job's summary. Reports of an earlier run are removed first; where the
    gate cannot run, the reports say why.

    \b
    Exit codes: 0 pass, 1 fail, 2 usage, 3 inconclusive, 4 back end not available, 5 internal.
    """
    from contextlib import suppress

    from compress.api.gate import gate_build
    from compress.core.replacing import check_replaceable
    from compress.errors import CompressError, OutputError
    from compress.gate import Verdict
    from compress.reports.gate_markdown import gate_error_markdown, gate_markdown
    from compress.reports.junit import gate_error_junit, gate_junit

    baseline = options["baseline"]
    for path in (junit, markdown):
        if path is not None:
            _remove(Path(path))
            check_replaceable(Path(path))
    try:
        with kept_for_the_result():
            result = gate_build(candidate, **options)
    except CompressError as error:
        with suppress(OutputError):  # what the command says is why the gate could not be run
            _report(
                gate_error_markdown(error, candidate, baseline),
                gate_error_junit(error, candidate, baseline),
                markdown,
                junit,
            )
        raise
    checks, verdict, note = result.checks, result.verdict, result.note
    _report(
        gate_markdown(checks, candidate, baseline, note),
        gate_junit(checks, candidate, baseline, on_inconclusive),
        markdown,
        junit,
    )
    lines = [f"{check.name}: {check.verdict}: {check.detail}" for check in checks]
    lines += [] if note is None else [f"note: {note}"]
    with suppress(BrokenPipeError):  # the verdict stands where nobody reads it
        if as_json:
            click.echo(json_text(result.to_dict(), indent=2))
        else:
            for line in [*lines, f"verdict: {verdict}"]:
                say_wrapped(line)
    codes = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}
    undecided = {"pass": 0, "fail": 1, "inconclusive": 3}[on_inconclusive]
    return undecided if verdict is Verdict.INCONCLUSIVE else codes[verdict]


def _report(table: str, suite: str, markdown: str | None, junit: str | None) -> None:
    """Write the reports that were asked for, and add to GitHub's summary, which other steps of the job share."""
    from compress.core.files import written_safely
    from compress.reports.writing import write_text

    if junit is not None:
        write_text(Path(junit), suite)
    if markdown is not None:
        write_text(Path(markdown), table)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with written_safely(Path(summary)), Path(summary).open("a", encoding="utf-8") as file:
            file.write(table)


def _remove(path: Path) -> None:
    from compress.core.files import written_safely

    with written_safely(path):
        path.unlink(missing_ok=True)
