"""``compress report``: a readable report of what a run tried and shipped."""

from __future__ import annotations

from pathlib import Path

import click

from compress.cli.command import Command
from compress.cli.saying import say
from compress.core.json_text import json_text
from compress.records.schemas import NAMES


@click.command(cls=Command)
@click.argument("build", type=click.Path(path_type=Path), default="build")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the report as HTML, which needs no internet connection.",
)
@click.option(
    "--markdown", type=click.Path(path_type=Path, dir_okay=False), help="File for the report in Markdown."
)
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), help="File for the plot alone, as SVG."
)
@click.option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the plot alone, as PNG; needs Chromium or Chrome on PATH.",
)
@click.option(
    "--csv",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the figures of every build, as CSV.",
)
@click.option(
    "--card",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for a model card in Markdown, with the front matter that model hubs read.",
)
@click.option(
    "--format",
    "formats",
    type=(str, click.Path(path_type=Path, dir_okay=False)),
    multiple=True,
    metavar="NAME FILE",
    help="Another format, such as one that an installed package adds (compress plugins); may be given again.",
)
@click.option(
    "--mlflow",
    is_flag=True,
    help="Write parameters, figures and the report to the MLflow server that MLFLOW_TRACKING_URI names.",
)
@click.option(
    "--schema",
    type=click.Choice(NAMES),
    help="Print the JSON Schema of a bundle's file, or of a command's --json output, and do nothing else.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the names of the written files as one JSON object."
)
def report(
    build: Path,
    html: Path | None,
    markdown: Path | None,
    svg: Path | None,
    png: Path | None,
    csv: Path | None,
    card: Path | None,
    formats: tuple[tuple[str, Path], ...],
    mlflow: bool,
    schema: str | None,
    as_json: bool,
) -> int:
    """Write reports of the run that made BUILD, a bundle (by default ./build); without options, report.html.

    \b
    Example:
      compress report build/ --html report.html --markdown report.md

    Every file of the bundle is checked against its sha256 first.

    --mlflow makes a run of the shipped build in the experiment `compress`, or in the one that MLFLOW_EXPERIMENT_NAME
    names, and a run below it for each other build.

    \b
    Exit codes: 0 written, 2 usage, 4 Chromium or MLflow not available, 5 internal.
    """
    if schema is not None:
        from compress.records.schemas import schema_text

        click.echo(schema_text(schema), nl=False)
        return 0
    from compress.api.report import write_reports

    formats_asked = [
        ("html", html),
        ("markdown", markdown),
        ("svg", svg),
        ("png", png),
        ("csv", csv),
        ("card", card),
        *formats,
    ]
    written = write_reports(build, [(name, path) for name, path in formats_asked if path is not None], mlflow)
    texts = {name: str(path) for name, path in written.items()}
    if as_json:
        click.echo(json_text(texts))
    else:
        for name in texts:
            say(f"wrote {texts[name]}")
    return 0
