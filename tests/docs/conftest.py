"""The programs, builds and files that the pages' commands find."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.docs.page_files import FILES, digits_of
from tests.docs.running import FROM_EMPTY, PAGES, run_command, write_file

#: A page shows the command that a user gives; the tests give it less time.
SHORTER = {
    "demo": ("--seconds", "0.02"),  # of its optimize
    "optimize": ("--seconds", "0.02", "--time-budget", "1s"),
    "prune": ("--seconds", "0.2"),
    "profile": ("--seconds", "0.05"),
}


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `compress`, `python` and `python3`, which run this checkout in this environment."""
    directory = tmp_path_factory.mktemp("programs")
    compress = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom compress.cli import main\n"
    compress += f"SHORTER = {SHORTER!r}\n"
    compress += """
if sys.argv[1] == "demo":
    from compress.cli.optimize import optimize
    optimize_whole = optimize.main
    optimize.main = lambda arguments, **how: optimize_whole([*arguments, *SHORTER["demo"]], **how)
else:
    sys.argv[2:2] = SHORTER.get(sys.argv[1], ())
sys.exit(main())
"""
    (directory / "compress_shorter.py").write_text(compress, encoding="utf-8")
    for name, command in (
        ("compress", f'exec "{sys.executable}" "{directory / "compress_shorter.py"}" "$@"'),
        ("python", f'exec "{sys.executable}" "$@"'),
        ("python3", f'exec "{sys.executable}" "$@"'),
    ):
        path = directory / name
        path.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
        path.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    """A directory with `demo/`, and a build in it."""
    pytest.importorskip("sklearn", reason="the pages' networks learn scikit-learn's digits")
    directory = tmp_path_factory.mktemp("digits")
    digits_of(directory)
    build = "compress optimize demo/digits.pt2 --data demo/val.npz --out demo/build --backend onnxruntime"
    run_command(["bash", "-c", build], directory, programs, "the build of the pages")
    return directory


@pytest.fixture
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with the files that a page's commands find."""
    if request.param in FROM_EMPTY:
        return tmp_path
    shutil.copytree(request.getfixturevalue("demo") / "demo", tmp_path / "demo")
    for make in FILES.get(request.param, ()):
        make(tmp_path)
    for block in PAGES[request.param]:
        write_file(block, tmp_path)
    return tmp_path
