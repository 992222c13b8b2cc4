"""How the blocks of a page are run, in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Block, blocks, pages

PAGES = {str(path.relative_to(ROOT)): tuple(blocks(path)) for path in pages()}


#: Pages whose commands begin in an empty directory; a file that they show is there from where it is shown.
FROM_EMPTY = ("docs/first-hour.md",)


def write_file(block: Block, directory: Path) -> None:
    """Write the file that a block shows; nothing for other blocks."""
    if block.title is not None:
        path = directory / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.body, encoding="utf-8")


def pages_below(directory: str, *, slow: bool) -> list[str]:
    """Return the pages below a directory that have blocks to run, slow ones or others."""
    return [
        page
        for page, found in PAGES.items()
        if page.startswith(directory) and any(block.is_run and block.is_slow == slow for block in found)
    ]


def run_command(command: list[str], directory: Path, programs: Path, where: str) -> None:
    """Run a command with the programs of this checkout; it must end with 0."""
    own = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}{os.pathsep}."}
    own["PYTEST_PLUGINS"] = "compress.testing.pytest_plugin"  # this checkout's, whatever is installed
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **own}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{where} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def run_page(
    page: str, directory: Path, programs: Path, request: pytest.FixtureRequest, *, slow: bool
) -> None:
    """Run the blocks of a page in order: all of them, or those that are not slow."""
    if not slow and "slow" in request.config.getoption("-m") and any(block.is_slow for block in PAGES[page]):
        pytest.skip("its slow test runs the whole page")
    for block in PAGES[page]:
        if page in FROM_EMPTY:
            write_file(block, directory)
        if block.is_run and (slow or not block.is_slow):
            _run_block(block, directory, programs)


def _run_block(block: Block, directory: Path, programs: Path) -> None:
    where = f"{block.page}:{block.line}"
    if block.language == "python":
        run_command([sys.executable, "-c", block.body], directory, programs, where)
    else:
        run_command(["bash", "-euo", "pipefail", "-c", block.commands], directory, programs, where)
