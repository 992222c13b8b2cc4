"""Every built-in technique declares the form of its report, and each form says what its keys are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from compress import techniques
from compress.records import technique_reports

SOURCES = sorted(Path(techniques.__file__).parent.glob("*.py"))
FORMS = [
    node
    for node in ast.parse(Path(technique_reports.__file__).read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_says_what_each_key_is(form: ast.ClassDef) -> None:
    described = ast.get_docstring(form) or ""
    keys = [node.target.id for node in form.body if isinstance(node, ast.AnnAssign)]
    assert keys
    assert [key for key in keys if f"    {key}: " not in described] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_report_is_a_dict_without_a_form(path: Path) -> None:
    without = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Dict)
        and ".reports[" in ast.unparse(node.targets[0])
    ]
    assert without == []
