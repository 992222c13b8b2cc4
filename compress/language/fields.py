"""Fields of a settings file that a stranger wrote: each is checked for its type and its range before it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from compress.errors import NetworkError

#: Largest id of a token, and largest size of a vocabulary.
MOST_TOKENS = 1 << 24


class Fields:
    """The fields of one settings file.

    Args:
        values: Fields by name, as a parser of JSON or of GGUF gives them.
        where: Name of the file, for messages.
        path: Names of the fields that these fields lie in, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str, path: str = "") -> None:
        self.values = values
        self.where = where
        self.path = path

    def has(self, name: str) -> bool:
        """Whether a field is there and is not null."""
        return self.values.get(name) is not None

    def count(self, name: str, most: int, default: int | None = None, least: int = 1) -> int:
        """Return a whole number from ``least`` to ``most``; ``default`` where the field is missing or null.

        Raises:
            NetworkError: The field is missing and has no default, is no whole number, or is out of range.
        """
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float, default: float | None = None) -> float:
        """Return a number from ``least`` to ``most``; ``default`` where the field is missing or null.

        Raises:
            NetworkError: The field is missing and has no default, is no finite number, or is out of range.
        """
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number")
        if not math.isfinite(value) or not least <= value <= most:
            raise self.wrong(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false; ``default`` where the field is missing or null.

        Raises:
            NetworkError: The field is neither.
        """
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text that is not empty; ``default`` where the field is missing or null.

        Raises:
            NetworkError: The field is missing and has no default, or is no text.
        """
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "a text")
        return value

    def items(self, name: str, count: int) -> Sequence[Any] | None:
        """Return a list of ``count`` items; None where the field is missing or null.

        Raises:
            NetworkError: The field is no list, or has another number of items.
        """
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != count:
            raise self.wrong(name, f"a list of {count} items")
        return value

    def inner(self, name: str) -> Fields | None:
        """Return the fields inside a field; None where it is missing or null.

        Raises:
            NetworkError: The field is no object.
        """
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.wrong(name, "an object with fields")
        return Fields(value, self.where, f"{self.path}{name}.")

    def tokens(self, name: str) -> tuple[int, ...]:
        """Return the ids of tokens that a field names, as one number or a list; empty where it is missing or null.

        Raises:
            NetworkError: The field is neither a token's id nor a list of them.
        """
        value = self.values.get(name)
        tokens = [] if value is None else value if isinstance(value, list) else [value]
        for token in tokens:
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < MOST_TOKENS:
                raise self.wrong(name, "the id of a token, or a list of such")
        return tuple(dict.fromkeys(tokens))

    def wrong(self, name: str, wanted: str) -> NetworkError:
        """Return the error for a field that is not what it should be."""
        value = self.values.get(name)
        problem = f"it is {_shortened(value)}" if name in self.values else "it is missing"
        todo = "correct the file, or get the model again"
        return NetworkError(f"{wanted} in '{self.path}{name}'", f"{self.where}: {problem}", todo)


def _shortened(value: object, most: int = 60) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of too many digits"
    return text if len(text) <= most else f"{text[:most]}…"
