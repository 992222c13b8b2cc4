"""``compress report``: a readable report of what a run tried and shipped."""

from __future__ import annotations

from pathlib import Path

import click

from compress.cli.saying import say
from compress.core.json_text import json_text


@click.command()
@click.argument("build", type=click.Path(path_type=Path), default="build")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the report as HTML, which needs no network.",
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
    "--format",
    "formats",
    type=(str, click.Path(path_type=Path, dir_okay=False)),
    multiple=True,
    metavar="NAME FILE",
    help="Another format, such as one that an installed package adds (compress plugins); may be given again.",
)
@click.option(
    "--schema",
    type=click.Choice(["profile", "manifest", "gate", "optimize", "history", "doctor"]),
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
    formats: tuple[tuple[str, Path], ...],
    schema: str | None,
    as_json: bool,
) -> int:
    """Write reports of the run that made BUILD, a bundle (by default ./build); without options, report.html.

    \b
    Example:
      compress report build/ --html report.html --markdown report.md

    Every file of the bundle is checked against its sha256 first.
    """
    if schema is not None:
        from compress.records.schemas import schema_text

        click.echo(schema_text(schema), nl=False)
        return 0
    from compress.api.report import write_reports

    asked = [("html", html), ("markdown", markdown), ("svg", svg), ("png", png), *formats]
    written = write_reports(build, [(name, path) for name, path in asked if path is not None])
    found = {name: str(path) for name, path in written.items()}
    if as_json:
        click.echo(json_text(found))
    else:
        for name in found:
            say(f"wrote {found[name]}")
    return 0
