"""``compress benchmark``: a network in every back end and precision that is here, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from compress.api.options import BenchmarkOptions
from compress.cli.generated import GroupedCommand
from compress.cli.options import verb_options
from compress.cli.saying import say, say_wrapped
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from compress.api.benchmark import BenchmarkResult, BenchmarkRow


@click.command(cls=GroupedCommand)
@click.argument("model", type=click.Path())
@verb_options(BenchmarkOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def benchmark(model: str, options: dict[str, Any], as_json: bool) -> int:
    """Measure MODEL in every back end and precision that is here: size, accuracy and latency. Nothing is chosen.

    \b
    Example:
      compress benchmark model.onnx --data val/

    MODEL is a network's file, as for `compress optimize`. Each build runs with its back end's default session options;
    int8 is plain post-training quantization. Where there is no build, the reason is told. Nothing is kept.

    \b
    Exit codes: 0 measured, 2 usage, 4 target not available, 5 internal.
    """
    from compress.api.benchmark import benchmark as run
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.terminal import TerminalReporter

    with TerminalReporter(PlainConsole(stderr=True)) as reporter:
        result = run(model, reporter=reporter, **options)
    if as_json:
        click.echo(json_text(result.to_dict(), indent=2))
    else:
        _tell(result)
    return 0


def _tell(result: BenchmarkResult) -> None:
    """Print a row for each back end and precision, then the reasons against those without a build."""
    from compress.cli.figure_text import accuracy_text, latency_text
    from compress.cli.plain_rich import PlainConsole
    from compress.cli.tables import plain_table, print_table
    from compress.core.plain_text import plain
    from compress.reports.figures import size_text
    from compress.reports.timings import at, condition_text

    first = result.rows[0].profile
    timed = () if first is None else first.latency
    metric = "accuracy" if first is None or first.accuracy is None else first.accuracy.metric
    table = plain_table()
    for heading in ("", "back end", "precision", metric, *map(condition_text, timed), "size"):
        table.add_column(plain(heading), no_wrap=True)
    for row in result.rows:
        if row.profile is None:
            table.add_row("✗", _place(row), row.precision, *["–"] * (2 + len(timed)))
            continue
        figures = [at(row.profile, latency) for latency in timed]
        table.add_row(
            "✓",
            _place(row),
            row.precision,
            accuracy_text(row.profile.accuracy),
            *("–" if figure is None else latency_text(figure) for figure in figures),
            size_text(row.profile.artifact_bytes),
        )
    print_table(PlainConsole(), table)
    say()
    for row in result.rows:
        if row.reason is not None:
            say_wrapped(f"{_place(row)} {row.precision}: {row.reason}")
    for note in result.notes:
        say_wrapped(note)


def _place(row: BenchmarkRow) -> str:
    """Return the back end, with the execution provider where it is another than the target names."""
    from compress.backends.providers import short_name

    return row.backend if row.provider is None else f"{row.backend} ({short_name(row.provider)})"
