"""``compress profile``: measure accuracy and latency of an existing build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.cli.generated import Number
from compress.cli.model_argument import InputShape, input_option
from compress.cli.options import data_options, host_options, state_option
from compress.cli.saying import say
from compress.cli.stdout import kept_for_the_result
from compress.cli.waiting import WaitedFor
from compress.core.json_text import json_text
from compress.core.options import Option

if TYPE_CHECKING:
    from compress.data.evaluation import MeasuredSamples


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
    from compress.bundle.profile_file import with_digest
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.profile_tables import profile_tables
    from compress.cli.terminal import TerminalReporter
    from compress.data.class_order import with_classes
    from compress.data.evaluation import left_out_note, load_evaluation
    from compress.errors import UsageError
    from compress.measuring.standalone import profile_artifact
    from compress.profiling.scenarios import NAMES
    from compress.reports.writing import write_text

    task, note = None, None
    if data is None and any(each is not None for each in (metric, image_options, classes, state)):
        raise UsageError("--data with --metric, --state, --classes and --image-…", "none", "give --data")
    if inputs and data is not None:
        raise UsageError("--shape or --data", "both", "leave --shape out: the data has the shapes")
    if data is not None:
        with kept_for_the_result():
            measured_on, told = _of_bundle(artifact)
            state = state or dict(told)
            task, _ = load_evaluation(
                data,
                measured_on,
                metric=metric,
                image_options=with_classes(image_options, classes),
                streams=bool(state),
            )
        note = left_out_note(task)
    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        measured = profile_artifact(
            Path(artifact),
            target=target,
            host=host,
            keep_on_host=keep_on_host,
            task=task,
            state=state,
            threads=threads,
            batches=batches,
            scenarios=NAMES if scenario == "all" else tuple(name for name in NAMES if name == scenario),
            seconds=seconds,
            shapes=[(each.name, each.shape) for each in inputs],
            reporter=reporter,
        )
    if note is not None:
        say(f"note: {note}", err=True)
    text = json_text(with_digest(measured), indent=1)
    if out is not None:
        write_text(Path(out), text)
    if as_json:
        click.echo(text)
    else:
        PlainConsole().print(profile_tables(measured), highlight=False)
    return 0


def _of_bundle(artifact: str) -> tuple[list[MeasuredSamples], Mapping[str, str]]:
    """Return the samples that a bundle was measured on, and its states; nothing of both for a file."""
    from compress.bundle.bundle import load_bundle
    from compress.data.evaluation import MeasuredSamples

    if not Path(artifact).is_dir():
        return [], {}
    bundle = load_bundle(artifact)
    accuracy = bundle.profile.accuracy
    known = [] if accuracy is None else [MeasuredSamples.of_bundle(accuracy.data_sha256, bundle.manifest)]
    return known, bundle.states
