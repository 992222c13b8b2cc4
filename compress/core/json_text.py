"""Figures as JSON that every parser reads: what is not finite is null, which Python's own writer has no word for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """A value as JSON, with null in place of infinities and NaN.

    Args:
        value: As :func:`json.dumps` takes it.
        indent: Spaces a level; None writes one line.
        sort_keys: Whether keys come in their order, so that equal values are equal texts.
    """
    text = json.dumps(finite(value), indent=indent, sort_keys=sort_keys, allow_nan=False)
    return text.replace("\x7f", "\\u007f")  # the one control character that the writer leaves as it is


def finite(value: Any) -> Any:
    """The value with None in place of infinities and NaN, however deep they lie."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
