"""Docstrings of classes as data: what each attribute means, and texts without their markup."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable


def attributes_of(kind: type) -> dict[str, str]:
    """Return the meaning of each attribute by its name, as the docstrings of a class and its bases tell it."""
    descriptions: dict[str, str] = {}
    for ancestor in reversed(kind.__mro__):
        doc = inspect.cleandoc(ancestor.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", doc, re.MULTILINE)
        if section is None:
            continue
        for entry in re.finditer(r"^    (\w+): ((?:.*)(?:\n {5,}.*)*)", section[1], re.MULTILINE):
            descriptions[entry[1]] = _resolved(" ".join(entry[2].split()), ancestor)
    return descriptions


def without_attributes(kind: type) -> str:
    """Return the docstring of a class as plain text, without its section of attributes; paragraphs stay apart."""
    doc = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    text = re.sub(r"^Attributes:\n(?:    .*\n?|\n)+", "", doc, flags=re.MULTILINE)
    return "\n\n".join(unmarked(block) for block in re.split(r"\n\s*\n", text) if block.strip())


def unmarked(text: str) -> str:
    """Return a text on one line, without roles and backticks."""
    return re.sub(r":\w+:`~?([^`]+)`", r"\1", " ".join(text.split())).replace("`", "")


def _resolved(text: str, kind: type) -> str:
    """Return the values in place of the constant that holds them: "One of :data:`METHODS`"."""
    module = importlib.import_module(kind.__module__)

    def values(match: re.Match[str]) -> str:
        value = getattr(module, match[1], None)
        return (
            ", ".join(f"``{element}``" for element in value)
            if isinstance(value, Iterable)
            else f"``{match[1]}``"
        )

    return re.sub(r":data:`(\w+)`", values, text)
