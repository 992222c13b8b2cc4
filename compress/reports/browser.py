"""Pictures of a report, taken by the installed Chromium without network access."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from compress.core.replacing import replaced_whole
from compress.errors import OutputError, UnavailableError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_TIMEOUT_S = 120


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome on this machine; None where there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def screenshot(page: Path, out: Path, width: int, height: int, *, dark: bool = False) -> None:
    """Write a PNG of a local HTML or SVG file as a browser shows it.

    Args:
        page: File to show.
        out: PNG file, written whole or not at all.
        width: Width of the window, in pixels; a browser makes none narrower than 500.
        height: Height of the window, in pixels.
        dark: Whether the page is asked for its dark colours.

    Raises:
        UnavailableError: No Chromium is installed.
        OutputError: The browser wrote no picture.
    """
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        picture = Path(scratch) / "picture.png"
        output = run_browser(
            [f"--screenshot={picture}", f"--window-size={width},{height}", *_colours(dark)],
            page,
            Path(scratch),
        )
        if not picture.exists():
            raise OutputError(
                "a picture from the browser", output.strip()[-200:] or "none", "give --svg instead of --png"
            )
        with replaced_whole(out) as written:
            shutil.copyfile(picture, written)


def run_browser(options: list[str], page: Path, scratch: Path) -> str:
    """Open a local page without a window.

    Args:
        options: Further options of Chromium.
        page: File to open.
        scratch: Directory for the browser's own files.

    Returns:
        The text that it printed.

    Raises:
        UnavailableError: No Chromium is installed.
        OutputError: The browser did not end.
    """
    browser = find_browser()
    if browser is None:
        raise UnavailableError(
            "Chromium, to make a PNG",
            "none on PATH",
            "install it (Debian: apt install chromium) or give --svg",
        )
    command = [
        browser,
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={scratch / 'browser'}",
        *options,
        page.resolve().as_uri(),
    ]
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # Chromium does not start for root otherwise.
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise OutputError(
            f"an answer of {browser} in {_TIMEOUT_S} s", "none", "try again, or give --svg"
        ) from error
    return (done.stdout or done.stderr).decode(errors="replace")


def _colours(dark: bool) -> list[str]:
    return [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
