"""The commands and Python snippets of the how-to pages are run, each page in a directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.running import pages_below, run_page

HOWTO = "docs/howto/"


@pytest.mark.parametrize("directory", pages_below(HOWTO, slow=False), indirect=True)
def test_a_pages_blocks_run(directory: Path, programs: Path, request: pytest.FixtureRequest) -> None:
    run_page(request.node.callspec.params["directory"], directory, programs, request, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("directory", pages_below(HOWTO, slow=True), indirect=True)
def test_a_pages_slow_blocks_run(directory: Path, programs: Path, request: pytest.FixtureRequest) -> None:
    run_page(request.node.callspec.params["directory"], directory, programs, request, slow=True)
