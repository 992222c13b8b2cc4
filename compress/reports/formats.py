"""Forms in which a run is told, by name: ``compress report --format NAME FILE``.

A format is a function from a :class:`~compress.reports.run.Run` to what its file holds, a text or bytes. Another
distribution adds one under the entry point group ``compress.reports``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from compress.core.registry import Registry, function
from compress.core.replacing import replaced_whole
from compress.core.user_code import users_code
from compress.errors import CompressError, UsageError
from compress.reports.card import card as model_card
from compress.reports.figures_csv import figures_csv
from compress.reports.html import page, plot_svg
from compress.reports.markdown import report
from compress.reports.run import Run
from compress.reports.writing import write_png


def html(run: Run) -> str:
    """Return the report as one HTML page that needs no internet connection."""
    return page(run)


def markdown(run: Run) -> str:
    """Return the report in Markdown."""
    return report(run.manifest, run.choice, run.candidates)


def svg(run: Run) -> str:
    """Return the plot alone, as SVG."""
    return plot_svg(run)


def png(run: Run) -> bytes:
    """Return the plot alone, as PNG.

    Raises:
        UnavailableError: No Chromium is installed.
    """
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        path = Path(scratch) / "plot.png"
        write_png(path, plot_svg(run))
        return path.read_bytes()


def csv(run: Run) -> str:
    """The figures as comma-separated values, a row for each build and batch size."""
    return figures_csv(run)


def card(run: Run) -> str:
    """A model card of the shipped build, with the front matter that model hubs read."""
    return model_card(run)


FORMATS: Registry[Callable[[Run], str | bytes]] = Registry(
    "report format",
    "compress.reports",
    {writer.__name__: f"{__name__}:{writer.__name__}" for writer in (html, markdown, svg, png, csv, card)},
    wanted="a function from compress.reports.run.Run to a text or bytes",
    check=function,
)


def write_report(name: str, run: Run, path: Path) -> None:
    """Write a run in the format of a name, whole or not at all.

    Raises:
        UsageError: There is no such format, or that of another distribution fails.
        OutputError: The file cannot be written.
    """
    entry, write = FORMATS.find(name), FORMATS.load(name)
    with replaced_whole(path) as written:
        try:
            with users_code():
                content = write(run)
        except Exception as error:
            if entry.built_in or isinstance(error, CompressError):
                raise
            raise _failed(
                name, entry.origin, entry.distribution, f"{type(error).__name__}: {error}"
            ) from error
        if isinstance(content, str):
            written.write_text(content, encoding="utf-8")
        elif isinstance(content, bytes):
            written.write_bytes(content)
        else:
            raise _failed(name, entry.origin, entry.distribution, f"a {type(content).__name__}")


def _failed(name: str, origin: str, distribution: str, problem: str) -> UsageError:
    wanted = f"a text or bytes from the report format '{name}' of {origin}"
    return UsageError(wanted, problem, f"update or uninstall {distribution}")
