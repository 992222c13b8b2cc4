"""A small typed reader of TOML: which keys a table may have, and what each of them holds.

A kind of file is described once, as a mapping from key to field, and :func:`check` says the first thing that
is wrong with a table: the key, what was found there, and what is wanted, with its unit. A key carries its
unit in its name (``memory_gb``), so a value in another unit is an unknown key, and the answer is the key that
was meant.
"""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from compress.core.bounded_reading import read_bytes
from compress.core.suggestions import did_you_mean, nearest
from compress.errors import UsageError

if TYPE_CHECKING:
    from compress.core.registry import Registry

_MAX_BYTES = 1_000_000


class Field(Protocol):
    """Type of the value of one key."""

    @property
    def required(self) -> bool:
        """Whether a table without the key is wrong."""

    def describe(self) -> str:
        """Describe the value as a noun phrase, with unit and range."""

    def read(self, value: object) -> Any:
        """Return the value in its Python type.

        Raises:
            ValueError: The value is of another type or out of range.
        """


@dataclass(frozen=True)
class Number:
    """A finite number in ``unit``, from ``low`` to ``high``, both included."""

    unit: str
    low: float
    high: float
    whole: bool = False
    required: bool = False

    def describe(self) -> str:
        """See :meth:`Field.describe`."""
        kind = "a whole number" if self.whole else "a number"
        return f"{kind}{f' in {self.unit}' if self.unit else ''} from {self.low:g} to {self.high:g}"

    def read(self, value: object) -> float | int:
        """See :meth:`Field.read`."""
        # bool is an int in Python; NaN fails both comparisons.
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            raise ValueError
        if not self.low <= value <= self.high:
            raise ValueError
        return value if self.whole else float(value)


@dataclass(frozen=True)
class Text:
    """A text that is not empty; one of ``choices``, where there are any."""

    choices: tuple[str, ...] = ()
    required: bool = False

    def describe(self) -> str:
        """See :meth:`Field.describe`."""
        return f"one of {', '.join(self.choices)}" if self.choices else "a text"

    def read(self, value: object) -> str:
        """See :meth:`Field.read`."""
        if not isinstance(value, str) or not value.strip() or (self.choices and value not in self.choices):
            raise ValueError
        return value


@dataclass(frozen=True)
class Flag:
    """``true`` or ``false``."""

    required: bool = False

    def describe(self) -> str:
        """See :meth:`Field.describe`."""
        return "true or false"

    def read(self, value: object) -> bool:
        """See :meth:`Field.read`."""
        if not isinstance(value, bool):
            raise ValueError
        return value


@dataclass(frozen=True)
class List:
    """A list with ``shortest`` to ``longest`` items of one kind; read as a tuple."""

    item: Field
    shortest: int = 0
    longest: int = 1000
    required: bool = False

    def describe(self) -> str:
        """See :meth:`Field.describe`."""
        low, high = self.shortest, self.longest
        count = f"{low}" if low == high else f"{low} to {high}"
        return f"a list of {count} items, each {self.item.describe()}"

    def read(self, value: object) -> tuple[Any, ...]:
        """See :meth:`Field.read`."""
        if not isinstance(value, list | tuple) or not self.shortest <= len(value) <= self.longest:
            raise ValueError
        return tuple(self.item.read(item) for item in value)


@dataclass(frozen=True)
class Table:
    """A table with fields of its own."""

    fields: Mapping[str, Field]
    required: bool = False

    def describe(self) -> str:
        """See :meth:`Field.describe`."""
        return f"a table with {', '.join(self.fields)}"

    def read(self, value: object) -> dict[str, object]:
        """See :meth:`Field.read`."""
        if not isinstance(value, dict):
            raise ValueError
        return value


@dataclass(frozen=True)
class Registered:
    """The name of something that is registered, such as a back end, whichever distribution brings it."""

    registry: Registry[Any]
    required: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """Return every name that is registered."""
        return tuple(self.registry.names())

    @property
    def advice(self) -> str | None:
        """Return what to do about a name that resembles none of them."""
        return self.registry.todo

    def describe(self) -> str:
        """See :meth:`Field.describe`."""
        return f"the name of a {self.registry.kind} ({', '.join(self.choices)})"

    def read(self, value: object) -> str:
        """See :meth:`Field.read`."""
        if not isinstance(value, str) or value not in self.registry:
            raise ValueError
        return value


@dataclass(frozen=True)
class Named:
    """A table whose keys are names, each with an item of one kind.

    Attributes:
        name: Form of a key.
        item: Form of the value of each key.
    """

    name: Field
    item: Field
    required: bool = False

    def describe(self) -> str:
        """See :meth:`Field.describe`."""
        return f"a table from {self.name.describe()} to {self.item.describe()}"

    def read(self, value: object) -> dict[str, object]:
        """See :meth:`Field.read`."""
        if not isinstance(value, dict):
            raise ValueError
        return value

    def fields(self, names: Iterable[str]) -> dict[str, Field]:
        """A field for each name that is known or may be used, of those that a table has."""
        choices = getattr(self.name, "choices", ())
        return dict.fromkeys((*choices, *(name for name in names if self._takes(name))), self.item)

    def _takes(self, name: str) -> bool:
        try:
            self.name.read(name)
        except ValueError:
            return False
        return True


def read_toml(path: Path, error: type[UsageError]) -> dict[str, Any]:
    """Read the tables of a TOML file, not yet checked.

    Args:
        path: The file, at most 1 MB of UTF-8.
        error: Class of the error that is raised when it cannot be read or is not TOML.
    """
    try:
        content = read_bytes(path, _MAX_BYTES)
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the name
        reason = getattr(cause, "strerror", None) or cause
        raise error("a readable TOML file of at most 1 MB", f"{path}: {reason}", "check the path") from cause
    return parse_toml(content, str(path), error)


def parse_toml(content: bytes, where: str, error: type[UsageError]) -> dict[str, Any]:
    """Parse the content of a TOML file, as :func:`read_toml` does; ``where`` names it in errors."""
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as cause:  # not UTF-8, not TOML, a number too long; nested too deeply
        reason = "nested too deeply" if isinstance(cause, RecursionError) else cause
        raise error("valid TOML", f"{where}: {reason}", "correct the file") from cause


def check(
    values: Mapping[str, object],
    fields: Mapping[str, Field],
    where: str,
    error: type[UsageError],
    *,
    partial: bool = False,
    within: str = "",
) -> dict[str, Any]:
    """Check a table and return its values in their Python types; absent keys stay absent.

    Args:
        values: The table.
        fields: All keys that it may have, with their types.
        where: The file's name, for errors.
        error: Class of the error that is raised for the first fault.
        partial: Whether required keys may be absent, as in a file that completes another.
        within: Name of the table and a dot, where it lies inside another; else empty.

    Raises:
        UsageError: (of the class ``error``) A key is unknown or missing, or a value has a wrong type or range.
    """
    for key in values:
        if key not in fields:
            near = nearest(key, fields)
            meaning = f" {near[0]} is {fields[near[0]].describe()}" if near else ""
            todo = did_you_mean(key, fields) + meaning or f"choose one of {', '.join(fields)}"
            raise error(f"a known key in {where}", f"{within}{key}", todo)
    read: dict[str, Any] = {}
    for key, field in fields.items():
        name = within + key
        if key not in values:
            if field.required and not partial:
                raise error(f"{name} in {where}, {field.describe()}", "no such key", f"add {name} = …")
            continue
        value = values[key]
        try:
            read[key] = field.read(value)
        except ValueError as cause:
            choices = getattr(field, "choices", ())
            todo = did_you_mean(str(value), choices) or getattr(field, "advice", None) or f"change {name}"
            raise error(f"{name} in {where} as {field.describe()}", reprlib.repr(value), todo) from cause
        inner = (
            field.fields
            if isinstance(field, Table)
            else field.fields(read[key])
            if isinstance(field, Named)
            else None
        )
        if inner is not None:
            read[key] = check(read[key], inner, where, error, partial=partial, within=f"{name}.")
    return read
