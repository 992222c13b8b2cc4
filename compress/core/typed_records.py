"""Check that values read from a file have the types that a record declares; Python itself checks none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_types(record: Any) -> None:
    """Refuse a record with a value of another type than its field declares, in whatever it holds.

    Whole numbers count as floats. A float has to be finite, apart from ends of intervals, which may be missing.

    Args:
        record: An instance of a dataclass.

    Raises:
        TypeError: A value is of another type; the message names the field.
        ValueError: A number is not finite, or a word is none of those that the field may hold.
    """
    hints = get_type_hints(type(record))
    for field in fields(record):
        _check(getattr(record, field.name), hints[field.name], field.name)


def _check(value: Any, hint: Any, name: str) -> None:
    origin = get_origin(hint)
    if hint is Any:
        return
    if origin is Literal:
        if value not in get_args(hint):
            raise ValueError(f"'{name}' is {value!r} and none of {', '.join(map(repr, get_args(hint)))}")
    elif origin in (Union, UnionType):
        _check_one_of(value, get_args(hint), name)
    elif origin in (tuple, list):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise TypeError(f"'{name}' is a {type(value).__name__}")
        inner = get_args(hint)[0]
        for item in value:
            _check(item, inner, name)
    elif origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise TypeError(f"'{name}' is a {type(value).__name__}")
        _, inner = get_args(hint)
        for item in value.values():
            _check(item, inner, name)
    elif is_dataclass(hint):
        if not isinstance(value, hint):  # type: ignore[arg-type]
            raise TypeError(f"'{name}' is a {type(value).__name__}")
        check_types(value)
    elif isinstance(hint, type):
        _check_plain(value, hint, name)


def _check_one_of(value: Any, hints: Sequence[Any], name: str) -> None:
    if value is None and NoneType in hints:
        return None
    others = [hint for hint in hints if hint is not NoneType]
    for hint in others[:-1]:
        try:
            return _check(value, hint, name)
        except (TypeError, ValueError):
            continue
    return _check(value, others[-1], name)


def _check_plain(value: Any, hint: type[Any], name: str) -> None:
    allowed = (int, float) if hint is float else hint
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(f"'{name}' is a {type(value).__name__} and no {hint.__name__}")
    if isinstance(value, float) and not math.isfinite(value) and name not in ("low", "high", "points"):
        raise ValueError(f"'{name}' is {value}")
    if isinstance(value, int) and hint is float:
        try:
            float(value)
        except OverflowError as error:
            raise ValueError(f"'{name}' is too large") from error
