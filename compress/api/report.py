"""``compress.report``: readable reports of what a run tried and shipped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from compress.errors import UsageError


def report(
    build: str | os.PathLike[str] = "build",
    *,
    html: str | os.PathLike[str] | None = None,
    markdown: str | os.PathLike[str] | None = None,
    svg: str | os.PathLike[str] | None = None,
    png: str | os.PathLike[str] | None = None,
    csv: str | os.PathLike[str] | None = None,
    card: str | os.PathLike[str] | None = None,
    formats: Mapping[str, str | os.PathLike[str]] | None = None,
    mlflow: bool = False,
) -> dict[str, Path | str]:
    """Write reports of the run that made a bundle; where nothing is named, report.html.

        compress.report("build", html="report.html", markdown="report.md")

    Args:
        build: Directory of the bundle, as ``compress.optimize`` wrote it.
        html: File for the report as one HTML page, which needs no internet connection; None writes none.
        markdown: File for the report in Markdown; None writes none.
        svg: File for the plot alone, as SVG; None writes none.
        png: File for the plot alone, as PNG; needs Chromium or Chrome on PATH. None writes none.
        csv: File for the figures as comma-separated values; None writes none.
        card: File for a model card in Markdown, with the front matter that model hubs read; None writes none.
        formats: File for each further format by its name, such as one that an installed package adds.
        mlflow: Whether to write the run to the MLflow server that MLFLOW_TRACKING_URI names.

    Returns:
        The written file of each format, by the format's name; under ``mlflow`` the address of the run there.

    Raises:
        BundleError: There is no bundle, it was changed or damaged, or it records no run.
        UsageError: A format is unknown, two reports have one file, or MLFLOW_TRACKING_URI is not set.
        OutputError: A file cannot be written.
        UnavailableError: No Chromium is installed, for ``png``; or MLflow is not, or its server does not answer.
    """
    named = {"html": html, "markdown": markdown, "svg": svg, "png": png, "csv": csv, "card": card}
    formats_asked = [*named.items(), *(formats or {}).items()]
    return write_reports(
        build, [(name, Path(path)) for name, path in formats_asked if path is not None], mlflow
    )


def write_reports(
    build: str | os.PathLike[str], files: list[tuple[str, Path]], mlflow: bool = False
) -> dict[str, Path | str]:
    """Write reports by the name of their format, each whole or not at all; see :func:`report`."""
    from compress.core.replacing import check_replaceable
    from compress.reports.formats import FORMATS, write_report
    from compress.reports.run import read_run

    written = files or ([] if mlflow else [("html", Path("report.html"))])
    by_format = dict(written)
    if len(by_format) < len(written):
        names = ", ".join(name for name, _ in written)
        raise UsageError("each format of a report once", names, "run the command once for each file")
    if len(set(by_format.values())) < len(by_format):
        raise UsageError(
            "a file of its own for each report",
            ", ".join(map(str, by_format.values())),
            "name different files",
        )
    for name in by_format:
        FORMATS.find(name)
    for path in by_format.values():
        check_replaceable(path)
    run = read_run(Path(build))
    for name, path in by_format.items():
        write_report(name, run, path)
    if not mlflow:
        return {**by_format}
    from compress.reports.tracking import track

    return {**by_format, "mlflow": str(track(run))}
