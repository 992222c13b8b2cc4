"""``compress lint``: whether a target's runtime accepts a graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.cli.model_argument import InputShape, given_shapes, input_option, open_model
from compress.cli.options import network_options
from compress.cli.saying import say
from compress.cli.stdout import kept_for_the_result
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text

if TYPE_CHECKING:
    import onnx

    from compress.lint import Finding, Fixed
    from compress.target.target import Target


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
    import compress.lint
    from compress.core.versions import versions
    from compress.reports.writing import write_text
    from compress.target.target import load_target

    deployment = load_target(target)
    if backend is not None:
        deployment = deployment.for_backend(backend)
    fixed = difference = None
    with kept_for_the_result():
        opened = open_model(
            model,
            inputs,
            factory=factory,
            trust_pickle=trust_pickle,
            weights=weights,
            batch_axis=batch_axis,
        )
        if opened.note is not None:
            say(f"note: {opened.note}", err=True)
        if inputs and opened.format in ("onnx", "bundle"):  # others were traced with these shapes
            deployment = _for_shapes(opened.model, deployment, inputs)
        if mended is None:
            findings = compress.lint.lint(opened.model, deployment, dla=dla)
        else:
            fixed = compress.lint.fix(opened.model, deployment, dla=dla)
            findings = list(fixed.findings)
            difference = _written(opened.model, fixed, mended, inputs)
    if log is not None:
        version = versions().get("compress-toolkit", "0")
        found = compress.lint.sarif(findings, opened.path, opened.sha256, deployment.name, version)
        write_text(log, json_text(found, indent=2) + "\n")
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        report: dict[str, Any] = {
            "model": opened.path,
            "sha256": opened.sha256,
            "target": deployment.name,
            "findings": [finding.to_dict() for finding in findings],
        }
        if fixed is not None:
            report |= {
                "written": str(mended),
                "rewrites": {name: list(nodes) for name, nodes in fixed.applied.items()},
                "refused": dict(fixed.refused),
                "largest_difference": difference,
            }
        click.echo(json_text(report, indent=2))
    else:
        if fixed is not None:
            _tell_fixed(fixed, mended, difference)
        _tell_findings(findings, errors)
    click.get_current_context().exit(1 if errors else 0)


def _for_shapes(model: onnx.ModelProto, target: Target, inputs: tuple[InputShape, ...]) -> Target:
    """Return the target with the sizes that an engine is to be built for."""
    from dataclasses import replace

    from compress.data.sizes import input_ranges
    from compress.network.formats.onnx_file import read_specs

    _, shapes = given_shapes(model, inputs, None)
    specs, _ = read_specs(model)
    asked = {name: [shape] for name, shape in shapes.items()}
    return replace(target, input_shapes=input_ranges(specs, (), target.batch_sizes, asked))


def _written(
    original: onnx.ModelProto, fixed: Fixed, path: Path, inputs: tuple[InputShape, ...]
) -> float | None:
    """Write the rewritten graph if its outputs equal the original's, and return the largest difference.

    Raises:
        InternalError: The outputs differ; nothing is written.
        OutputError: The file cannot be written.
    """
    from compress.core.files import written_safely
    from compress.errors import InternalError
    from compress.lint.equality import largest_difference, tolerance
    from compress.onnx_graph.files import save_model

    _, shapes = given_shapes(original, inputs, None)
    difference = largest_difference(original, fixed.model, shapes=shapes)
    most = tolerance(fixed.model)
    if difference is not None and difference > most:
        names = ", ".join(fixed.applied)
        raise InternalError(
            f"outputs that differ by {most:g} at most",
            f"{difference:.2g} after the rewrites {names}",
            "report this as a defect",
        )
    with written_safely(path):
        save_model(fixed.model, path)
    return difference


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


def _tell_findings(findings: list[Finding], errors: int) -> None:
    for finding in findings:
        say(str(finding))
    warnings = sum(finding.severity == "warning" for finding in findings)
    notes = len(findings) - errors - warnings
    told = [_counted(errors, "error"), _counted(warnings, "warning")]
    told += [_counted(notes, "note")] if notes else []
    say(", ".join(told) if findings else "no findings")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
