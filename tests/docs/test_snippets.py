"""The commands and Python snippets of the README and of docs/ are run, each page in a directory of its own.

The how-to pages are in :mod:`tests.docs.test_howto_snippets`: files of tests run side by side.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.cli import compress as root
from tests.docs.markdown import ROOT, RUN
from tests.docs.running import FROM_EMPTY, PAGES, pages_below, run_page

HOWTO = "docs/howto/"

#: Blocks that no test runs, by page: a number that grows only on purpose.
NOT_RUN = {
    "CONTRIBUTING.md": 2,
    "README.md": 3,
    "docs/howto/board-ssh.md": 7,
    "docs/howto/classifier-jetson.md": 1,
    "docs/howto/gate-ci.md": 1,
    "docs/howto/many-machines.md": 2,
    "docs/howto/measure-and-report.md": 1,
    "docs/howto/networks-and-data.md": 1,
    "docs/howto/text-encoder.md": 1,
    "docs/howto/training-pipeline.md": 2,
    "docs/index.md": 1,
    "docs/releasing.md": 2,
}


def test_what_is_not_run_says_why_and_is_counted():
    left_out = {
        page: [block for block in found if "notest" in block.options] for page, found in PAGES.items()
    }
    without = [
        f"{block.page}:{block.line}" for found in left_out.values() for block in found if not block.reason
    ]
    assert without == []
    counts = {
        page: sum(block.language in RUN for block in found)
        for page, found in left_out.items()
        if any(block.language in RUN for block in found)
    }
    assert counts == NOT_RUN


def test_blocks_have_a_language_that_is_known():
    unknown = [
        f"{block.page}:{block.line} {block.language}"
        for found in PAGES.values()
        for block in found
        if block.language not in (*RUN, "text", "toml", "yaml", "markdown")
    ]
    assert unknown == []


def test_pages_from_an_empty_directory_are_there():
    assert set(FROM_EMPTY) <= set(_others(slow=True))


def test_the_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_readme_names_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in root.commands_help if f"| `compress {name}` |" not in text] == []


def _others(*, slow: bool) -> list[str]:
    return [page for page in pages_below("", slow=slow) if not page.startswith(HOWTO)]


@pytest.mark.parametrize("directory", _others(slow=False), indirect=True)
def test_a_pages_blocks_run(directory: Path, programs: Path, request: pytest.FixtureRequest) -> None:
    run_page(request.node.callspec.params["directory"], directory, programs, request, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("directory", _others(slow=True), indirect=True)
def test_a_pages_slow_blocks_run(directory: Path, programs: Path, request: pytest.FixtureRequest) -> None:
    run_page(request.node.callspec.params["directory"], directory, programs, request, slow=True)
