"""``compress profile``: measure accuracy and latency of an existing build."""

from __future__ import annotations

from typing import Any

import click

from compress.api.opened_model import InputShape
from compress.cli.generated import Number
from compress.cli.model_argument import input_option
from compress.cli.options import data_options, host_options, state_option
from compress.cli.saying import say
from compress.cli.stdout import kept_for_the_result
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text
from compress.core.options import Option


@click.command(cls=WaitedFor)
@click.argument("artifact", type=click.Path(), default="build")
@click.option(
    "--target",
    default="cpu",
    show_default=True,
    help="Name from `compress targets`, or a TOML file; sets session options and batch sizes.",
)
@host_options
@click.option(
    "--data", help="Evaluation data, as for `compress optimize`. [default: latency alone, on seeded noise]"
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Number of threads of the runtime. [default: as built, or every core]",
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(1),
    multiple=True,
    help="Batch size, in samples; may be given again for a sweep. [default: the target's]",
)
@click.option(
    "--scenario",
    type=click.Choice(["single-stream", "multi-stream", "offline", "all"]),
    help="Scenario of MLPerf Inference to measure too. "
    "[default: one call after the other at each batch size, alone]",
)
@click.option(
    "--seconds",
    type=Number(Option("seconds", low=0, above=True), whole=False),
    default=2.0,
    show_default=True,
    help="Time to measure each batch size, in seconds, above 0; also the longest warm-up. p90 needs 64 calls, p99 662.",
)
@click.option("--out", type=click.Path(dir_okay=False), help="Write the profile as JSON to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as one JSON object.")
@input_option
@data_options
@state_option
def profile(
    artifact: str,
    target: str,
    host: str | None,
    keep_on_host: bool,
    data: str | None,
    threads: int | None,
    batches: tuple[int, ...],
    scenario: str | None,
    seconds: float,
    out: str | None,
    as_json: bool,
    inputs: tuple[InputShape, ...],
    metric: str | dict[str, str] | None,
    image_options: dict[str, Any] | None,
    classes: str | None,
    state: dict[str, str] | None,
) -> int:
    """Measure ARTIFACT, a bundle or an ONNX file, on this machine or on --host. Needs no torch.

    \b
    Example:
      compress profile build/ --data val/ --out profile.json
    """
    from compress.api.profile import profile as run
    from compress.bundle.profile_file import with_digest
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.profile_tables import profile_tables
    from compress.cli.terminal import TerminalReporter
    from compress.profiling.scenarios import NAMES

    notes: list[str] = []
    with kept_for_the_result(), TerminalReporter(PlainConsole(stderr=True)) as reporter:
        measured = run(
            artifact,
            data=data,
            target=target,
            host=host,
            keep_on_host=keep_on_host,
            threads=threads,
            batches=batches,
            scenarios=NAMES if scenario == "all" else tuple(name for name in NAMES if name == scenario),
            seconds=seconds,
            shape=inputs,
            metric=metric,
            image_options=image_options,
            classes=classes,
            state=state,
            out=out,
            reporter=reporter,
            on_note=notes.append,
        )
    for note in notes:
        say(f"note: {note}", err=True)
    if as_json:
        click.echo(json_text(with_digest(measured), indent=1))
    else:
        PlainConsole().print(profile_tables(measured), highlight=False)
    return 0
