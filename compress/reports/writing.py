"""Reports on disk: each file whole or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compress.core.files import written_safely
from compress.core.replacing import replaced_whole
from compress.reports.browser import screenshot

#: Size of the plot, in pixels; the browser draws nothing else around it.
_PNG_SIZE = (928, 470)


def write_text(path: Path, text: str) -> None:
    """Write a report.

    Raises:
        OutputError: There is no such directory, or the file cannot be written.
    """
    with replaced_whole(path) as written:
        written.write_text(text, encoding="utf-8")


def write_png(path: Path, drawing: str) -> None:
    """Draw an SVG in its light colours as a PNG.

    Raises:
        UnavailableError: No Chromium is installed.
        OutputError: There is no such directory, or the browser drew nothing.
    """
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch, written_safely(path):
        source = Path(scratch) / "plot.svg"
        source.write_text(drawing, encoding="utf-8")
        screenshot(source, path, *_PNG_SIZE)
