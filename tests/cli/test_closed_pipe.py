"""A reader that goes away, as ``head`` does, is no error of whatever command prints."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["techniques"], ["techniques", "prune"], ["plugins"], ["targets"], ["optimize", "--help"]],
)
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)  # nobody has read a byte when the first line comes
    try:
        done = subprocess.run(
            [sys.executable, "-m", "compress", *arguments],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
