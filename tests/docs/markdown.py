"""Fenced blocks of Markdown pages: what the documentation shows and the tests run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Languages that are run.
RUN = ("sh", "console", "python")

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks)$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its page, relative to the repository.
        line: Line of its first fence, from 1.
        language: First word after the fence; empty where there is none.
        options: The rest of that line, as ``notest reason="needs a board"``.
        body: Its text, without the page's indentation.
    """

    page: str
    line: int
    language: str
    options: str
    body: str

    @property
    def reason(self) -> str | None:
        """Why it is not run; None where no reason is told."""
        found = re.search(r'\breason="([^"]+)"', self.options)
        return None if found is None else found[1]

    @property
    def is_run(self) -> bool:
        """Whether a test runs it."""
        return self.language in RUN and not self.is_file and "notest" not in self.options

    @property
    def is_slow(self) -> bool:
        """Whether it is run by slow tests alone."""
        return bool(re.search(r"\bslow\b", self.options.partition("reason=")[0]))

    @property
    def is_file(self) -> bool:
        """Whether it is the content of a file that the page's commands read."""
        return self.title is not None

    @property
    def title(self) -> str | None:
        """Name of the file that it shows; None where it shows none."""
        found = re.search(r'\btitle="([^"]+)"', self.options)
        return None if found is None else found[1]

    @property
    def commands(self) -> str:
        """What a shell runs of it: all of ``sh``, and of ``console`` what stands behind ``$``."""
        if self.language != "console":
            return self.body
        lines, goes_on = [], False
        for line in self.body.splitlines():
            if line.startswith("$ ") or goes_on:
                lines.append(line.removeprefix("$ "))
                goes_on = line.endswith("\\")
        return "\n".join(lines) + "\n"


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        language, _, options = found["info"].strip().partition(" ")
        indent = found["indent"]
        body = "".join(line.removeprefix(indent) for line in found["body"].splitlines(keepends=True))
        line = text.count("\n", 0, found.start()) + 1
        yield Block(str(path.relative_to(ROOT)), line, language, options, body)


def pages() -> list[Path]:
    """Every page whose blocks are held: the README, CONTRIBUTING and ``docs/``."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
