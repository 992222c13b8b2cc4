"""``compress lint``: will the target take this graph?"""

from __future__ import annotations

from pathlib import Path

import click

from compress.cli.model_argument import InputShape, input_option, open_model
from compress.cli.options import network_options


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="A name from `compress targets`, or a TOML file.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
@input_option
@network_options
def lint(
    model: Path,
    target: str,
    as_json: bool,
    inputs: tuple[InputShape, ...],
    factory: str | None,
    trust_pickle: bool,
) -> None:
    """Check MODEL, a network's file or a bundle, against what a target's runtime accepts.

    Prints one line for each finding. The exit code is 1 where one of them is an error, 0 otherwise.
    """
    import json

    import compress.lint
    from compress.target import load_target

    deployment = load_target(target)
    opened = open_model(model, inputs, factory=factory, trust_pickle=trust_pickle)
    findings = compress.lint.lint(opened.model, deployment)
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        found = [finding.to_dict() for finding in findings]
        report = {"model": opened.path, "sha256": opened.sha256, "target": deployment.name, "findings": found}
        click.echo(json.dumps(report, indent=2))
    else:
        for finding in findings:
            click.echo(str(finding))
        click.echo(f"{errors} errors, {len(findings) - errors} warnings" if findings else "no findings")
    click.get_current_context().exit(1 if errors else 0)
