"""Every command and Python snippet of the README and of docs/ is run, each page in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, RUN, Block, blocks, pages
from tests.docs.page_files import FILES, digits_of

pytest.importorskip("sklearn", reason="the pages' networks learn scikit-learn's digits")

PAGES = {str(path.relative_to(ROOT)): tuple(blocks(path)) for path in pages()}

#: A page shows the command that a user gives; the tests give it less time.
SHORTER = {
    "optimize": ("--seconds", "0.02", "--time-budget", "1s"),
    "prune": ("--seconds", "0.2"),
    "profile": ("--seconds", "0.05"),
}

#: Blocks that no test runs, by page: a number that grows only on purpose.
NOT_RUN = {
    "CONTRIBUTING.md": 2,
    "README.md": 3,
    "docs/howto/board-ssh.md": 5,
    "docs/howto/classifier-jetson.md": 1,
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


def test_the_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def _has(page: str, *, slow: bool) -> bool:
    return any(block.is_run and block.is_slow == slow for block in PAGES[page])


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `compress`, `python` and `python3`, which run this checkout in this environment."""
    directory = tmp_path_factory.mktemp("programs")
    compress = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom compress.cli import main\n"
    compress += f"SHORTER = {SHORTER!r}\n"
    compress += "sys.argv[2:2] = SHORTER.get(sys.argv[1], ())\nsys.exit(main())\n"
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
    directory = tmp_path_factory.mktemp("digits")
    digits_of(directory)
    build = "compress optimize demo/digits.pt2 --data demo/val.npz --out demo/build --backend onnxruntime"
    _run(["bash", "-c", build], directory, programs, "the build of the pages")
    return directory


@pytest.fixture
def directory(request: pytest.FixtureRequest, demo: Path, tmp_path: Path) -> Path:
    """A directory with the files that a page's commands find."""
    shutil.copytree(demo / "demo", tmp_path / "demo")
    for make in FILES.get(request.param, ()):
        make(tmp_path)
    for block in PAGES[request.param]:
        if block.title is not None:
            path = tmp_path / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
    return tmp_path


def _run(command: list[str], directory: Path, programs: Path, where: str) -> None:
    own = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}{os.pathsep}."}
    own["PYTEST_PLUGINS"] = "compress.testing.pytest_plugin"  # this checkout's, whatever is installed
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **own}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{where} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def _run_block(block: Block, directory: Path, programs: Path) -> None:
    where = f"{block.page}:{block.line}"
    if block.language == "python":
        _run([sys.executable, "-c", block.body], directory, programs, where)
    else:
        _run(["bash", "-euo", "pipefail", "-c", block.commands], directory, programs, where)


@pytest.mark.parametrize("directory", [page for page in PAGES if _has(page, slow=False)], indirect=True)
def test_a_pages_blocks_run(directory: Path, programs: Path, request: pytest.FixtureRequest) -> None:
    page = request.node.callspec.params["directory"]
    for block in PAGES[page]:
        if block.is_run and not block.is_slow:
            _run_block(block, directory, programs)


@pytest.mark.slow
@pytest.mark.parametrize("directory", [page for page in PAGES if _has(page, slow=True)], indirect=True)
def test_a_pages_slow_blocks_run(directory: Path, programs: Path, request: pytest.FixtureRequest) -> None:
    page = request.node.callspec.params["directory"]
    for block in PAGES[page]:
        if block.is_run:
            _run_block(block, directory, programs)
