"""JSON that every parser reads: numbers that are not finite are null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return a value as JSON text, with null in place of infinities and NaN.

    Args:
        value: Value that :func:`json.dumps` accepts.
        indent: Spaces for each level; None writes one line.
        sort_keys: Whether keys are sorted, so that equal values give equal texts.
    """
    text = json.dumps(finite(value), indent=indent, sort_keys=sort_keys, allow_nan=False)
    return text.replace("\x7f", "\\u007f")  # the one control character that the writer leaves as it is


def finite(value: Any) -> Any:
    """Return the value with None in place of infinities and NaN at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [finite(element) for element in value]
    return value
