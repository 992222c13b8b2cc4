"""``compress optimize``: find the fastest build that keeps its accuracy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from compress.api.options import OptimizeOptions
from compress.cli.generated import GroupedCommand, repeated
from compress.cli.options import verb_options
from compress.cli.saying import say, say_wrapped
from compress.cli.several_targets import for_each, targets_named
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.api.optimize import OptimizeResult


def _resumes(options: dict[str, Any]) -> str | None:
    if options.get("dry_run"):
        return None
    return "the same command takes over the builds that were measured, and goes on with the next"


@click.command(cls=GroupedCommand, resumes=_resumes)
@click.argument("model", type=click.Path())
@verb_options(OptimizeOptions, special={"target": partial(repeated, read=targets_named)})
@click.option(
    "--dry-run",
    is_flag=True,
    help="List what would be tried, in its order, what each build needs and about how long it takes; nothing is "
    "measured or written.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def optimize(
    model: str,
    options: dict[str, Any],
    dry_run: bool,
    as_json: bool,
) -> int:
    """Find the fastest build of MODEL for a target that keeps its accuracy.

    \b
    Example:
      compress optimize model.pt2 --data val/ --target cpu --out build

    MODEL is a torch.export .pt2, TorchScript, a state dict with --factory, or ONNX; its content tells which. It may
    also be a Hugging Face directory, as save_pretrained writes it, or timm:NAME. After an
    interruption, the same command takes over the builds that were measured, and a training at its last checkpoint; the
    build that was being made or measured is begun again. With several --target, each gets a bundle of its own,
    OUT/TARGET, one after another; what does not depend on the target is done once.

    \b
    Exit codes: 0 a build was shipped, 1 none is inside the limits, a --recipe could not be applied, or the target
    refuses the network, 2 usage, 4 target not available, 5 internal; for several targets the highest of them.
    """
    if isinstance(options.get("target"), list):
        return for_each(
            options["target"],
            options,
            lambda chosen: _run(model, dict(chosen), dry_run, is_printed=not as_json),
            writes=not dry_run,
            as_json=as_json,
        )
    code, record = _run(model, options, dry_run, is_printed=not as_json)
    if as_json:
        click.echo(json_text(record, indent=2))
    return code


def _run(
    model: str, options: dict[str, Any], dry_run: bool, *, is_printed: bool
) -> tuple[int, dict[str, Any]]:
    """Run the command for one target.

    Args:
        model: The network's file.
        options: Options of the verb.
        dry_run: Whether builds are only listed.
        is_printed: Whether the result is printed for a person.

    Returns:
        The exit code, and the result for JSON.
    """
    if dry_run:
        return 0, _planned(model, options, is_printed=is_printed)
    from compress.api.optimize import optimize as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        try:
            result = run(model, reporter=reporter, **options)
        except KeyboardInterrupt:
            if reporter.shipped is not None:
                so_far = f"{options.get('out', 'build')} holds the best build so far, {reporter.shipped}"
                say(so_far, err=True)
            raise
    if is_printed:
        _tell(result)
    for name, reason in result.unapplied.items():
        say(f"error: the recipe '{name}' could not be applied: {reason}", err=True)
    return 0 if result.bundle is not None and not result.unapplied else 1, result.to_dict()


def _tell(result: OptimizeResult) -> None:
    """Print the table of builds, what was chosen and why, and the reason against each of the others."""
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.result_table import result_table, verdict_lines, warning_lines
    from compress.cli.tables import print_table

    print_table(PlainConsole(), result_table(result))
    say()
    for line in [*warning_lines(result), *result.notes]:
        say_wrapped(line)
    verdicts = verdict_lines(result)
    if verdicts:
        say("not shipped:")
    for line in verdicts:
        say_wrapped(f"  {line}", indent="    ")
    say_wrapped(result.choice.reason)
    chosen = None if result.choice.candidate is None else result.choice.candidate.profile
    if chosen is not None and chosen.greedy is not None and (same := str(chosen.greedy)):
        say_wrapped(same)
    if result.bundle is None:
        return
    say(f"bundle: {result.bundle.path}")
    for name, path in result.front_bundles.items():
        say(f"on the Pareto front, {name}: {path}")
    if (result.bundle.path / "build.sh").exists():
        say(f"on the board, build the engine: sh build.sh  (in a copy of {result.bundle.path})")


def _planned(model: str, options: dict[str, Any], *, is_printed: bool) -> dict[str, Any]:
    """Return what would be tried, for JSON; print it where that is wanted."""
    from compress.api.plan import plan
    from compress.cli.dry_run import plan_lines
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = plan(model, reporter=reporter, **options)
    if is_printed:
        for line in plan_lines(result):
            say_wrapped(line, indent="    ")
    record: dict[str, Any] = result.to_dict()
    return record
