"""``compress optimize``: the main job."""

from __future__ import annotations

from typing import Any

import click

from compress.cli.options import (
    Duration,
    Seconds,
    data_options,
    deployment_options,
    host_options,
    network_options,
    state_option,
)
from compress.cli.saying import say
from compress.cli.shape_option import shape_option
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text


@click.command(cls=WaitedFor)
@click.argument("model", type=click.Path())
@deployment_options
@host_options
@shape_option
@click.option("--train-data", help="Data to train and calibrate on, in the same forms.")
@click.option("--out", default="build", show_default=True, type=click.Path(), help="Directory of the bundle.")
@click.option(
    "--max-drop", default=1.0, show_default=True, type=float, help="Accuracy drop allowed, in points."
)
@click.option("--max-latency", type=float, help="Median latency allowed at the first batch size, in ms.")
@click.option("--max-size", type=float, help="Size allowed, in MB.")
@click.option(
    "--objective",
    type=click.Choice(["latency", "throughput", "size"]),
    default="latency",
    show_default=True,
    help="What to minimise inside the limits: latency at batch 1, time per sample at the largest batch, or bytes.",
)
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    type=click.Path(),
    help="Try this recipe (TOML) instead of those the target suggests; may be given again.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    help="Let only this back end compete (onnxruntime, openvino); may be given again. [default: all installed]",
)
@click.option("--threads", type=click.IntRange(1), help="Threads of the runtime. [default: measured]")
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=Seconds(),
    help="Seconds of timing for each build and batch size.",
)
@click.option(
    "--time-budget",
    type=Duration(),
    metavar="DURATION",
    help="Time after which no further build is begun: 90s, 10m or 2h. [default: 4m; no limit with --train-data or "
    "--recipe, or where engines are built]",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Try builds again that failed before the interruption.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@data_options
@network_options
@state_option
def optimize(
    model: str,
    as_json: bool,
    **settings: Any,
) -> int:
    """Find the fastest build of MODEL for a target that keeps its accuracy.

    MODEL is a torch.export .pt2, TorchScript, a state dict with --factory, or ONNX; which one it is is read from its
    content. An interrupted run goes on where it stopped when the same command is given again.

    \b
    Exit codes: 0 a build was shipped, 1 none is inside the limits, or the target refuses the network, 2 usage,
    4 target not available, 5 internal.
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
            result = run(model, reporter=reporter, **settings)
        except KeyboardInterrupt:
            if reporter.shipped is not None:
                told = f"{settings['out']} holds the best build so far, {reporter.shipped}"
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
    return 0 if result.bundle is not None else 1
