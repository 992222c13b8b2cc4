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
    formats: Mapping[str, str | os.PathLike[str]] | None = None,
) -> dict[str, Path]:
    """Write reports of the run that made a bundle; without any file named, report.html.

        compress.report("build", html="report.html", markdown="report.md")

    Args:
        build: Directory of the bundle, as ``compress.optimize`` wrote it.
        html: File for the report as one HTML page, which needs no network; None writes none.
        markdown: File for the report in Markdown; None writes none.
        svg: File for the plot alone, as SVG; None writes none.
        png: File for the plot alone, as PNG; needs Chromium or Chrome on PATH. None writes none.
        formats: File for each further format by its name, such as one that an installed package adds.

    Returns:
        The written file of each format, by the format's name.

    Raises:
        BundleError: There is no bundle, it was changed or damaged, or it records no run.
        UsageError: A format is unknown, or two reports have one file.
        OutputError: A file cannot be written.
        UnavailableError: No Chromium is installed, for ``png``.
    """
    asked = [("html", html), ("markdown", markdown), ("svg", svg), ("png", png), *(formats or {}).items()]
    return write_reports(build, [(name, Path(path)) for name, path in asked if path is not None])


def write_reports(build: str | os.PathLike[str], asked: list[tuple[str, Path]]) -> dict[str, Path]:
    """Write reports by the name of their format, each whole or not at all; see :func:`report`."""
    from compress.reports.formats import FORMATS, write_report
    from compress.reports.run import read_run

    written = asked or [("html", Path("report.html"))]
    found = dict(written)
    if len(found) < len(written):
        names = ", ".join(name for name, _ in written)
        raise UsageError("each format of a report once", names, "run the command once for each file")
    if len(set(found.values())) < len(found):
        raise UsageError(
            "a file of its own for each report",
            ", ".join(map(str, found.values())),
            "name different files",
        )
    for name in found:
        FORMATS.find(name)
    run = read_run(Path(build))
    for name, path in found.items():
        write_report(name, run, path)
    return found
