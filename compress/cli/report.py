"""``compress report``: a readable report of what a run tried and shipped."""

from __future__ import annotations

from pathlib import Path

import click

from compress.cli.saying import say
from compress.core.json_text import json_text
from compress.errors import UsageError


@click.command()
@click.argument("build", type=click.Path(path_type=Path), required=False)
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
    "--schema",
    type=click.Choice(["profile", "manifest", "gate", "optimize", "history", "doctor"]),
    help="Print the JSON Schema of a bundle's file, or of a command's --json output, and do nothing else.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the names of the written files as one JSON object."
)
def report(
    build: Path | None,
    html: Path | None,
    markdown: Path | None,
    svg: Path | None,
    png: Path | None,
    schema: str | None,
    as_json: bool,
) -> int:
    """Write reports of the run that made BUILD, a bundle; report.html where no option names a file.

    \b
    Example:
      compress report build/ --html report.html --markdown report.md

    Every file of the bundle is checked against its sha256 first.
    """
    if schema is not None:
        from compress.records.schemas import schema_text

        click.echo(schema_text(schema), nl=False)
        return 0
    if build is None:
        raise UsageError("BUILD, a directory compress optimize wrote", "none", "give its path")
    if not any((html, markdown, svg, png)):
        html = Path("report.html")

    written = {"html": html, "markdown": markdown, "svg": svg, "png": png}
    found = {kind: str(path) for kind, path in written.items() if path is not None}
    if len(set(found.values())) < len(found):
        raise UsageError(
            "a file of its own for each report", ", ".join(found.values()), "name different files"
        )

    from compress.reports.run import read_run
    from compress.reports.writing import write_png, write_text

    run = read_run(build)
    if html is not None:
        from compress.reports.html import page

        write_text(html, page(run))
    if markdown is not None:
        from compress.reports.markdown import report as markdown_report

        write_text(markdown, markdown_report(run.manifest, run.choice, run.candidates))
    if svg is not None or png is not None:
        from compress.reports.html import plot_svg

        drawing = plot_svg(run)
        if svg is not None:
            write_text(svg, drawing)
        if png is not None:
            write_png(png, drawing)
    if as_json:
        click.echo(json_text(found))
    else:
        for path in found.values():
            say(f"wrote {path}")
    return 0
