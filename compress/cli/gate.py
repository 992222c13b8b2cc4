"""``compress gate``: a CI job that rejects regressions, and never noise."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from compress.cli.options import data_options


@click.command()
@click.argument("candidate", type=click.Path())
@click.option(
    "--baseline",
    required=True,
    type=click.Path(),
    help="What must not be fallen behind: a bundle, an ONNX file, or a profile that compress profile --out wrote.",
)
@click.option(
    "--data", help="Evaluation data to run both on. [default: the outcomes recorded in the bundles]"
)
@click.option(
    "--groups",
    type=click.Path(dir_okay=False),
    help="A .npy file with the slice of each sample of --data. [default: 'groups' in the .npz, or the classes]",
)
@click.option(
    "--policy", type=click.Path(dir_okay=False), help="A gate.toml with the checks and their margins."
)
@click.option(
    "--max-drop", type=float, help="Accuracy drop allowed, in points. [default: 1, or the policy's]"
)
@click.option(
    "--max-slowdown",
    type=float,
    help="Rise of the median latency allowed, in %. [default: 2, or the policy's]",
)
@click.option(
    "--on-inconclusive",
    type=click.Choice(["pass", "fail", "inconclusive"]),
    default="inconclusive",
    show_default=True,
    help="What an undecided gate exits with: 0, 1 or 3.",
)
@click.option("--junit", type=click.Path(dir_okay=False), help="Write the checks as JUnit XML to this file.")
@click.option(
    "--markdown", type=click.Path(dir_okay=False), help="Write the checks as Markdown to this file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as one JSON object.")
@data_options
def gate(
    candidate: str,
    baseline: str,
    data: str | None,
    groups: str | None,
    policy: str | None,
    max_drop: float | None,
    max_slowdown: float | None,
    on_inconclusive: str,
    junit: str | None,
    markdown: str | None,
    as_json: bool,
    metric: str | None,
    image_options: dict[str, Any] | None,
) -> int:
    """Accept or reject CANDIDATE, a bundle or an ONNX file, against a baseline.

    On GitHub the table of checks is added to the job's summary.

    \b
    Exit codes: 0 pass, 1 fail, 2 usage, 3 inconclusive, 4 back end not available, 5 internal.
    """
    from dataclasses import replace

    from compress.gate import GatePolicy, Verdict, load_policy, overall
    from compress.gate import gate as run
    from compress.gate.groups import load_task_and_groups
    from compress.reports.gate_markdown import gate_markdown
    from compress.reports.junit import gate_junit

    given = {"max_drop_points": max_drop, "max_slowdown_percent": max_slowdown}
    margins = {name: value for name, value in given.items() if value is not None}
    chosen = GatePolicy() if policy is None else load_policy(Path(policy))
    chosen = replace(chosen, **margins)  # type: ignore[arg-type]  # both are floats
    if data is None and (groups is not None or metric is not None or image_options is not None):
        raise click.UsageError("wanted --data with --groups, --metric and --image-…; found none; give --data")
    task, slices = None, None
    if data is not None:
        task, slices = load_task_and_groups(
            data, groups=None if groups is None else Path(groups), metric=metric, image_options=image_options
        )
    checks = run(candidate, baseline, task=task, groups=slices, policy=chosen)
    verdict = overall(checks)

    table = gate_markdown(checks, candidate, baseline)
    if junit is not None:
        _write(Path(junit), gate_junit(checks, candidate, baseline, on_inconclusive))
    if markdown is not None:
        _write(Path(markdown), table)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), table)
    if as_json:
        told = {
            "schema": 1,
            "verdict": verdict,
            "candidate": candidate,
            "baseline": baseline,
            "checks": [check.to_dict() for check in checks],
            "policy": chosen.to_dict(),
        }
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        for check in checks:
            click.echo(f"{check.name}: {check.verdict}: {check.detail}")
        click.echo(f"verdict: {verdict}")
    codes = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}
    undecided = {"pass": 0, "fail": 1, "inconclusive": 3}[on_inconclusive]
    return undecided if verdict is Verdict.INCONCLUSIVE else codes[verdict]


def _write(path: Path, text: str) -> None:
    from compress.history import written_safely

    with written_safely(path):
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)


def _append(path: Path, text: str) -> None:
    """Other steps of the job write to the same file."""
    from compress.history import written_safely

    with written_safely(path), path.open("a", encoding="utf-8") as file:
        file.write(text)
