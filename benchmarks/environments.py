"""Environments of other toolkits, apart from compress's own: pinned releases in a directory that is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class SkippedError(Exception):
    """A peer that could not be set up; the message says why."""


def python_with(folder: Path, packages: Sequence[str]) -> str:
    """Return the interpreter of an environment, which is made where it is missing or has other releases.

    Args:
        folder: Directory of the environment.
        packages: Packages that pip installs, each with its release: ``nncf==3.4.0``.

    Raises:
        SkippedError: A package could not be installed.
    """
    python, done = folder / "bin" / "python", folder / "packages.json"
    wanted = json.dumps(list(packages))
    if not done.exists() or done.read_text() != wanted:
        printed([sys.executable, "-m", "venv", str(folder)])
        printed([str(python), "-m", "pip", "install", "-q", *packages])
        done.write_text(wanted)
    return str(python)


def printed(command: Sequence[str]) -> str:
    """Run a command and return what it printed.

    Raises:
        SkippedError: It failed; the message is the last line of what it said.
    """
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=1800)
    except subprocess.TimeoutExpired as error:
        raise SkippedError(f"{Path(command[0]).name} took more than half an hour") from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise SkippedError(lines[-1] if lines else f"{command[0]} ended with {done.returncode}")
    return done.stdout
