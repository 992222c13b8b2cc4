"""Text of the reference pages: docstrings and defaults as Markdown."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any


def default_text(field: dataclasses.Field[Any], said: str | None = None) -> str:
    """Return the default of a field as a sentence; empty where it has none, or ``said`` tells it in words."""
    if said is not None or field.default in (dataclasses.MISSING, None, ()):
        return ""
    return f" Default: `{field.default!r}`."


def prose(text: str) -> str:
    """Return a docstring as Markdown: roles and double backticks become code, indented examples become blocks."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.replace("\b", "")):
        if block.startswith("    "):
            blocks.append(f"```toml\n{inspect.cleandoc(block)}\n```")
        else:
            blocks.append(inline(block.removesuffix("::") + (":" if block.endswith("::") else "")))
    return "\n\n".join(blocks)


def inline(text: str) -> str:
    """Return one paragraph on one line, safe inside a table and a list."""
    text = " ".join(text.split())
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    outside = re.split(r"(`[^`]*`)", text)
    for at in range(0, len(outside), 2):
        outside[at] = (
            outside[at].replace("<", "&lt;").replace("|", "\\|").replace("[", "\\[").replace("*", "\\*")
        )
    return "".join(outside)


def sentence(text: str) -> str:
    """Return text with a full stop at its end; empty text stays empty."""
    text = text.strip()
    return text if not text or text.endswith((".", "!")) else f"{text}."


def indented(text: str) -> str:
    """Return text with four spaces before each line."""
    return "\n".join(f"    {line}" for line in text.splitlines())
