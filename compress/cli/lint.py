"""``compress lint``: whether a target's runtime accepts a graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compress.api.opened_model import InputShape
from compress.cli.model_argument import input_option
from compress.cli.options import network_options
from compress.cli.saying import say
from compress.cli.stdout import kept_for_the_result
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.lint import Finding, Fixed


@click.command(cls=WaitedFor)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="Name from `compress targets`, or a target's TOML file.")
@click.option("--backend", help="Back end to check for, such as openvino. [default: the target's own]")
@click.option("--dla", is_flag=True, help="Check for the target's deep learning accelerator too.")
@click.option(
    "--fix",
    "mended",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.onnx",
    help="File for the repaired graph, whose outputs are compared with MODEL's.",
)
@click.option(
    "--sarif",
    "log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File for the findings as SARIF 2.1.0.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
@input_option
@network_options
def lint(
    model: Path,
    target: str,
    backend: str | None,
    dla: bool,
    mended: Path | None,
    log: Path | None,
    as_json: bool,
    inputs: tuple[InputShape, ...],
    factory: str | None,
    trust_pickle: bool,
    weights: str | None,
    batch_axis: dict[str, int] | None,
) -> None:
    """Check MODEL, a network's file or a bundle, against what a target's runtime accepts.

    \b
    Example:
      compress lint model.onnx --target jetson-orin-nano-super

    Prints one line for each finding; with --fix, for each that is left. The exit code is 1 where one of them is an
    error, 0 otherwise.
    """
    from compress.api.lint import lint_network

    with kept_for_the_result():
        result = lint_network(
            model,
            target=target,
            backend=backend,
            dla=dla,
            fix=mended,
            sarif=log,
            shape=inputs,
            factory=factory,
            trust_pickle=trust_pickle,
            weights=weights,
            batch_axis=batch_axis,
        )
    if result.note is not None:
        say(f"note: {result.note}", err=True)
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
    else:
        if result.fixed is not None:
            _tell_fixed(result.fixed, mended, result.largest_difference)
        _tell_findings(result.findings, result.errors)
    click.get_current_context().exit(1 if result.errors else 0)


def _tell_fixed(fixed: Fixed, path: Path | None, difference: float | None) -> None:
    from compress.lint.equality import NOT_COMPARED

    for name, nodes in fixed.applied.items():
        more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
        say(f"rewrote {name}: {', '.join(nodes[:3])}{more}")
    for name, reason in fixed.refused.items():
        say(f"could not rewrite {name}: {reason}")
    if difference is None:
        compared = f"its outputs were not compared: {NOT_COMPARED}"
    else:
        compared = f"its outputs differ by {difference:.1g} of the largest at most, on a random batch"
    say(f"wrote {path}; {compared}")


def _tell_findings(findings: Sequence[Finding], errors: int) -> None:
    for finding in findings:
        say(str(finding))
    warnings = sum(finding.severity == "warning" for finding in findings)
    notes = len(findings) - errors - warnings
    told = [_counted(errors, "error"), _counted(warnings, "warning")]
    told += [_counted(notes, "note")] if notes else []
    say(", ".join(told) if findings else "no findings")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
