"""``compress lint``: whether a target's runtime accepts a graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.api.build_options import LintOptions
from compress.cli.generated import GroupedCommand
from compress.cli.model_argument import build_options
from compress.cli.saying import say, say_wrapped, tell
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text

#: Nodes that are named of those that a finding holds for; --json has all.
_NODES = 5

if TYPE_CHECKING:
    from compress.lint import Finding, Fixed


@click.command(cls=GroupedCommand)
@click.argument("model", type=click.Path(path_type=Path))
@build_options(LintOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
def lint(model: Path, options: dict[str, Any], as_json: bool) -> None:
    """Check MODEL, a network's file or a bundle, against what a target's runtime accepts.

    \b
    Example:
      compress lint model.onnx --target jetson-orin-nano-super

    Prints the findings by rule, errors first; with --fix, those that are left. --json and --sarif name every node. The
    exit code is 1 where one of them is an error, 0 otherwise.
    """
    from compress.api.lint import lint_network

    with kept_for_the_result():
        result = lint_network(model, **options)
    if result.note is not None:
        tell(f"note: {result.note}")
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
    else:
        if result.fixed is not None:
            _tell_fixed(result.fixed, result.written, result.largest_difference)
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
    for (severity, rule), alike in _by_rule(findings).items():
        say(f"{severity} {rule}")
        for text, nodes in alike.items():
            named = [node for node in nodes if node]
            more = f" and {len(named) - _NODES} more" if len(named) > _NODES else ""
            where = f"at {', '.join(named[:_NODES])}{more}: " if named else ""
            say_wrapped(f"  {where}{text}", indent="    ")
    warnings = sum(finding.severity == "warning" for finding in findings)
    notes = len(findings) - errors - warnings
    counts = [_counted(errors, "error"), _counted(warnings, "warning")]
    counts += [_counted(notes, "note")] if notes else []
    say(", ".join(counts) if findings else "no findings")


def _by_rule(findings: Sequence[Finding]) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Group findings by severity and rule, errors first, and the nodes of which the same is said."""
    severe = ("error", "warning", "note")
    by_rule: dict[tuple[str, str], dict[str, list[str]]] = {}
    for finding in sorted(findings, key=lambda key_finding: severe.index(key_finding.severity)):
        done = f" [--fix: {finding.rewrite}]" if finding.rewrite else ""
        source = f" ({finding.source})" if finding.source else ""
        text = f"{finding.message}; {finding.fix}{done}{source}"
        by_rule.setdefault((finding.severity, finding.rule), {}).setdefault(text, []).append(finding.node)
    return by_rule


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
