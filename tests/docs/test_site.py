"""The documentation as a site: what is generated is complete, and the whole builds without a warning."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import compress
from compress.api.options import OptimizeOptions
from compress.cli import compress as root
from compress.core.options import flag_of, option_fields
from compress.techniques import technique_names
from tests.docs.markdown import ROOT


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "docs")  # as MkDocs does for its hooks
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    pages: dict[str, str] = _generate().pages()
    return pages


def test_every_command_has_a_page_with_every_option(generated: dict[str, str]) -> None:
    for name in root.commands_help:
        assert f"reference/commands/{name}.md" in generated
    page = generated["reference/commands/optimize.md"]
    for field in option_fields(OptimizeOptions):
        if field.name != "image_options":  # four flags of its own
            assert f"`{flag_of(OptimizeOptions, field.name)}" in page, field.name


def test_every_verb_tells_every_keyword(generated: dict[str, str]) -> None:
    page = generated["reference/python.md"]
    for field in option_fields(OptimizeOptions):
        assert f"`{field.name}`\n:   " in page


def test_every_technique_is_told_with_its_settings(generated: dict[str, str]) -> None:
    page = generated["reference/recipe.md"]
    assert [name for name in technique_names() if f"\n## {name}\n" not in page] == []
    empty = re.findall(r"^`(\w+)`\n:   \n", page, re.MULTILINE)
    assert empty == []


def test_every_page_of_the_reference_is_in_the_navigation(generated: dict[str, str]) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in generated if f"- {page}\n" not in navigation] == []


def test_the_errors_that_are_explained_exist() -> None:
    """Each heading of the troubleshooting page is the beginning of an error that the code raises."""
    texts = [
        node.value
        for path in Path(compress.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### wanted (.+)$", page, re.MULTILINE)
    assert len(headings) >= 20
    assert [heading for heading in headings if not any(heading in text for text in texts)] == []


@pytest.mark.parametrize(
    "program",
    [["docs/generate.py"], ["-m", "benchmarks", "run", "made_up_history"]],
    ids=["pages", "profiles"],
)
def test_a_program_that_is_asked_for_its_help_writes_no_files(program: list[str], tmp_path: Path) -> None:
    place = [str(ROOT / program[0])] if program[0].endswith(".py") else program
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *place, "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
    assert "directory" in done.stdout


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the documentation is built with the extra 'docs'")
    pytest.importorskip("mkdocstrings", reason="the documentation is built with the extra 'docs'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', start)
    assert loaded == []
    for page in (tmp_path / "site").rglob(
        "*.html"
    ):  # fences whose options MkDocs does not know are no blocks
        assert "notest" not in page.read_text(encoding="utf-8"), page
