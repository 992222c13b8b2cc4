"""HTML and SVG from elements: whatever is not an element is escaped, so that no name can become markup.

Only this module makes :class:`Markup`, from elements that it writes itself and from files of this package.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from importlib.resources import files
from string import Template

from compress.core.plain_text import plain

#: HTML elements that have no end tag.
_VOID = frozenset({"br", "hr", "input", "link", "meta"})

#: Neither HTML nor XML may hold what steers a terminal or turns text around; ends of lines and tabs stay.
_KEPT = re.compile("([\\t\\n\\r])")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = object


def escape(value: Child) -> Markup:
    """Return markup unchanged, and other values as escaped text."""
    if isinstance(value, Markup):
        return value
    text = "".join(part if _KEPT.fullmatch(part) else plain(part) for part in _KEPT.split(str(value)))
    return Markup(html.escape(text, quote=True))


def join(parts: Iterable[Child]) -> Markup:
    """Join several pieces without a separator."""
    return Markup("".join(map(escape, parts)))


def tag(name: str, /, *children: Child, **attributes: Child | None) -> Markup:
    """Return one element.

    Args:
        name: Name of the element.
        children: Content of the element: markup, or text to escape.
        attributes: Attributes by name, with ``_`` for ``-`` and one at the end of a Python keyword. None and False
            leave the attribute out, True leaves it without a value.
    """
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if not (value is None or value is False)
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def asset(name: str) -> Markup:
    """Return a file of this package, such as a style sheet, as markup."""
    return Markup((files(__package__) / name).read_text(encoding="utf-8"))


def fill(template: Markup, **values: Child) -> Markup:
    """Return a document with its places filled; what is not markup is escaped.

    Args:
        template: Document with places of the form ``$name``.
        values: Content of the places by name, one for each: markup, or text to escape.
    """
    return Markup(Template(template).substitute({name: escape(value) for name, value in values.items()}))


def _attribute(key: str, value: Child) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'
