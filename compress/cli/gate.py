"""``compress gate``: a CI job that rejects regressions, and never noise."""

from __future__ import annotations

import json
from typing import Any

import click

from compress.cli.options import data_options


@click.command()
@click.argument("candidate", type=click.Path())
@click.option(
    "--baseline", required=True, type=click.Path(), help="The bundle that must not be fallen behind."
)
@click.option(
    "--data", help="Evaluation data to run both on. [default: the outcomes recorded in the bundles]"
)
@click.option("--max-drop", default=1.0, show_default=True, help="Accuracy drop allowed, in points.")
@click.option(
    "--max-slowdown", default=2.0, show_default=True, help="Rise of the median latency allowed, in %."
)
@click.option(
    "--on-inconclusive",
    type=click.Choice(["pass", "fail", "inconclusive"]),
    default="inconclusive",
    show_default=True,
    help="What an undecided gate exits with: 0, 1 or 3.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as one JSON object.")
@data_options
def gate(
    candidate: str,
    baseline: str,
    data: str | None,
    max_drop: float,
    max_slowdown: float,
    on_inconclusive: str,
    as_json: bool,
    metric: str | None,
    image_options: dict[str, Any] | None,
) -> int:
    """Accept or reject the bundle CANDIDATE against a baseline.

    \b
    Exit codes: 0 pass, 1 fail, 2 usage, 3 inconclusive, 4 back end not available, 5 internal.
    """
    from compress.gate import GatePolicy, Verdict, overall
    from compress.gate import gate as run
    from compress.task import load_task

    task = None
    if data is not None:
        task = load_task(data, metric=metric, image_options=image_options)
    checks = run(
        candidate,
        baseline,
        task=task,
        policy=GatePolicy(max_drop_points=max_drop, max_slowdown_percent=max_slowdown),
    )
    verdict = overall(checks)
    if as_json:
        click.echo(
            json.dumps({"verdict": verdict, "checks": [check.to_dict() for check in checks]}, indent=2)
        )
    else:
        for check in checks:
            click.echo(f"{check.name}: {check.verdict}: {check.detail}")
        click.echo(f"verdict: {verdict}")
    codes = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3}
    undecided = {"pass": 0, "fail": 1, "inconclusive": 3}[on_inconclusive]
    return undecided if verdict is Verdict.INCONCLUSIVE else codes[verdict]
