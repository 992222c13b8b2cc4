"""No name becomes markup, and only one module can make markup of a text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import compress.reports
from compress.reports.markup import asset, fill, join, tag

HOSTILE = '<b title="\'">&amp;\x1b'
ESCAPED = "&lt;b title=&quot;&#x27;&quot;&gt;&amp;amp;\\x1b"


def test_text_is_escaped_in_elements_attributes_and_documents() -> None:
    assert tag("p", HOSTILE, title=HOSTILE) == f'<p title="{ESCAPED}">{ESCAPED}</p>'
    assert join([HOSTILE, tag("br")]) == f"{ESCAPED}<br>"
    template = asset("report.html")
    places = ("policy", "title", "style", "script", "summary", "contents", "sections", "version")
    page = fill(template, **dict.fromkeys(places, HOSTILE))
    assert page.count(ESCAPED) == len(places)
    assert "<b " not in page


def test_a_document_with_an_empty_place_is_refused() -> None:
    with pytest.raises(KeyError, match="policy"):
        fill(asset("report.html"), title="only this")


def test_only_one_module_makes_markup() -> None:
    makers = {
        path.name
        for path in Path(compress.reports.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Markup"
    }
    assert makers == {"markup.py"}
