"""HTML and SVG from elements: whatever is not an element is escaped, so that no name can become markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

#: HTML elements that have no end tag.
_VOID = frozenset({"br", "hr", "input", "link", "meta"})

#: Characters that neither HTML nor XML may hold: controls, halves of surrogate pairs, and what turns text around.
_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = object


def escape(value: Child) -> Markup:
    """Markup as it is; anything else as text."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_UNFIT.sub("\ufffd", str(value)), quote=True))


def join(parts: Iterable[Child]) -> Markup:
    """Several one after another, without a separator."""
    return Markup("".join(map(escape, parts)))


def tag(name: str, /, *children: Child, **attributes: Child | None) -> Markup:
    """One element.

    Args:
        name: Of the element.
        children: Markup, or text to escape.
        attributes: By name, with ``_`` for ``-`` and one at the end of a Python keyword. None and False leave the
            attribute out, True leaves it without a value.
    """
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if not (value is None or value is False)
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: Child) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'
