"""``compress optimize``: find the fastest build that keeps its accuracy."""

from __future__ import annotations

from typing import Any

import click

from compress.api.options import OptimizeOptions
from compress.cli.generated import GroupedCommand
from compress.cli.options import verb_options
from compress.cli.saying import say
from compress.core.json_text import json_text


@click.command(cls=GroupedCommand)
@click.argument("model", type=click.Path())
@verb_options(OptimizeOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def optimize(
    model: str,
    options: dict[str, Any],
    as_json: bool,
) -> int:
    """Find the fastest build of MODEL for a target that keeps its accuracy.

    \b
    Example:
      compress optimize model.pt2 --data val/ --target cpu --out build

    MODEL is a torch.export .pt2, TorchScript, a state dict with --factory, or ONNX; its content tells which. The same
    command, given again, resumes an interrupted run.

    \b
    Exit codes: 0 a build was shipped, 1 none is inside the limits, a --recipe could not be applied, or the target
    refuses the network, 2 usage, 4 target not available, 5 internal.
    """
    from compress.api.optimize import optimize as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import (
        TerminalReporter,
        print_whole,
        result_table,
        verdict_lines,
        warning_lines,
    )

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        try:
            result = run(model, reporter=reporter, **options)
        except KeyboardInterrupt:
            if reporter.shipped is not None:
                told = f"{options.get('out', 'build')} holds the best build so far, {reporter.shipped}"
                say(told, err=True)
            raise
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
    else:
        console = PlainConsole()
        print_whole(console, result_table(result))
        for line in [*warning_lines(result), *verdict_lines(result), *result.notes, result.choice.reason]:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if result.bundle is not None:
            console.print(f"bundle: {result.bundle.path}", highlight=False, markup=False, soft_wrap=True)
            if (result.bundle.path / "build.sh").exists():
                script = result.bundle.path / "build.sh"
                console.print(
                    f"on the board, build the engine: sh {script.name}  (in a copy of {result.bundle.path})",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
    for name, reason in result.unapplied.items():
        say(f"error: the recipe '{name}' could not be applied: {reason}", err=True)
    return 0 if result.bundle is not None and not result.unapplied else 1
