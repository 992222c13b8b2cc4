"""The examples run to their end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

pytest.importorskip("sklearn", reason="the examples learn scikit-learn's digits")

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("[0-9]*.*"))


def test_the_list_of_examples_is_complete():
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\| \[(\d\w+\.\w+)\]", text) == EXAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for program, command in (("python", ""), ("compress", " -m compress")):
        (programs / program).write_text(
            f'#!/bin/sh\nexec "{sys.executable}"{command} "$@"\n', encoding="utf-8"
        )
        (programs / program).chmod(0o755)
    example = ROOT / "examples" / name
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash" if example.suffix == ".sh" else sys.executable, str(example)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout
