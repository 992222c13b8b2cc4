"""Every link of a Markdown file leads to a file of the repository, since a code host shows it too."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)


def files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = listed.stdout.splitlines() or [str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")]
    return sorted(found)


def anchors(text: str) -> set[str]:
    """What a code host and MkDocs both call the headings of a page."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def dead(path: Path) -> list[str]:
    found = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())
        ):
            found.append(link)
    return found


@pytest.mark.parametrize("name", files())
def test_no_link_leads_nowhere(name: str) -> None:
    assert dead(ROOT / name) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n[a](#a-page) [b](other.md) [c](#none) [d](https://example.org)\n```\n[e](no.md)\n```\n"
    )
    assert dead(page) == ["other.md", "#none"]
