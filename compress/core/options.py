"""Options as frozen dataclasses that define help, default, range and choices in one place.

Python's signatures and docstrings, the flags of the command line and the pages of the documentation are made from them.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass
from typing import Any, ClassVar, Self

from compress.core.suggestions import did_you_mean
from compress.errors import UsageError

#: The key under which a field holds its :class:`Option`.
KEY = "option"


@dataclass(frozen=True)
class Option:
    """Description of an option besides its name, type and default.

    Attributes:
        help: Help text: a noun phrase with unit, range and meaning of None, and further sentences where needed.
        choices: Allowed values; None allows any.
        low: The smallest value; None sets no limit.
        high: The largest value; None sets no limit.
        above: Whether the smallest value itself is excluded.
        below: Whether the largest value itself is excluded.
        default_text: Text about a default that is found out later; None shows the default itself.
        metavar: Name of the value on the command line; None takes the type's name.
        flag: Flag on the command line; None takes the field's name.
    """

    help: str
    choices: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    default_text: str | None = None
    metavar: str | None = None
    flag: str | None = None

    def wrong(self, value: Any) -> str | None:
        """Return a description of the allowed values where a value is not allowed; None where it is.

        Args:
            value: A number, a text, or any value where neither choices nor limits are set.
        """
        if self.choices is not None and value not in self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is None and self.high is None:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        too_low = number and self.low is not None and (value < self.low or (self.above and value == self.low))
        too_high = (
            number and self.high is not None and (value > self.high or (self.below and value == self.high))
        )
        return self.range_text if not number or too_low or too_high else None

    @property
    def range_text(self) -> str:
        """Return the limits in words: "above 0", "from 1", "from 0 to below 1"; empty without limits."""
        low = None if self.low is None else f"{'above' if self.above else 'from'} {self.low:g}"
        high = None if self.high is None else f"{'below' if self.below else 'to'} {self.high:g}"
        if low is not None and high is not None:
            return f"{low} {'to ' if self.below else ''}{high}"
        return low or (f"up to {high.removeprefix('to ')}" if high is not None else "")


def option(help: str, default: Any = None, **more: Any) -> Any:
    """Make a field of an options class.

    Args:
        help: Help text; see :class:`Option`.
        default: Value where none is given; ``dataclasses.MISSING`` for an option that must be given.
        **more: The other attributes of :class:`Option`.
    """
    return dataclasses.field(default=default, metadata={KEY: Option(help, **more)})


def required(help: str, **more: Any) -> Any:
    """Make a field that must be given; see :func:`option`."""
    return option(help, MISSING, **more)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a verb; subclasses are frozen, keyword-only dataclasses whose fields are :func:`option`.

    Attributes:
        TITLE: Heading of the options that a class itself declares.
        RANK: Position of these options among those of other classes; lower ones come first.
        RENAMED: Present name of an option, by its former name.
    """

    TITLE: ClassVar[str] = "Options"
    RANK: ClassVar[int] = 50
    RENAMED: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Make the options from keywords; None stands for the default.

        Raises:
            UsageError: A keyword is unknown, was renamed, is missing, or its value is out of range.
        """
        known = {field.name: field for field in option_fields(cls)}
        for name in given:
            if name in cls.RENAMED:
                raise UsageError(
                    flag_of(cls, cls.RENAMED[name]),
                    _flag(name),
                    "use the new name: the old one meant two things",
                )
            if name not in known:
                near = did_you_mean(name, known) or f"use one of {', '.join(known)}"
                raise UsageError("an option that exists", f"'{name}'", near)
        chosen = {
            name: value for name, value in given.items() if value is not None or known[name].default is None
        }
        for name, field in known.items():
            if name not in chosen and field.default is MISSING:
                raise UsageError(flag_of(cls, name), "none", "give it")
        for name, value in chosen.items():
            wanted = None if value is None else spec_of(known[name]).wrong(value)
            if wanted is not None:
                raise UsageError(f"{flag_of(cls, name)} {wanted}", repr(value), "correct it")
        return cls(**chosen)


def option_fields(kind: type[Options]) -> tuple[Field[Any], ...]:
    """Return the option fields of a class: by the rank of the classes that declare them, then in order."""
    found = [field for field in dataclasses.fields(kind) if KEY in field.metadata]
    return tuple(sorted(found, key=lambda field: declared_in(kind, field.name).RANK))


def declared_in(kind: type[Options], name: str) -> type[Options]:
    """Return the class among the bases of an options class that declares an option."""
    classes = [each for each in kind.__mro__ if issubclass(each, Options)]
    return next(each for each in classes if name in inspect.get_annotations(each))


def spec_of(field: Field[Any]) -> Option:
    """Return the description of an option."""
    found: Option = field.metadata[KEY]
    return found


def flag_of(kind: type[Options], name: str) -> str:
    """Return the command line's flag for an option of a class: ``--max-drop``."""
    field = next(each for each in option_fields(kind) if each.name == name)
    return spec_of(field).flag or _flag(name)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def takes(kind: type[Options]) -> Callable[[Callable[..., Any]], Any]:
    """Show every option of a class in a function's signature and docstring.

    The function itself has ``**options: Unpack[…]`` of a TypedDict with the same names and types, for type checkers
    and editors; this is for ``help()`` and everything else that reads signatures at run time.

    Args:
        kind: The options class.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*arguments: Any, **keywords: Any) -> Any:
            return function(*arguments, **keywords)

        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        parameters = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=field.type,
            )
            for field in option_fields(kind)
        ]
        before = [each for each in own if each.kind is not each.KEYWORD_ONLY]
        after = [each for each in own if each.kind is each.KEYWORD_ONLY]
        called.__signature__ = signature.replace(parameters=[*before, *parameters, *after])  # type: ignore[attr-defined]
        called.__doc__ = _with_arguments(function.__doc__ or "", option_fields(kind))
        return called

    return decorate


def _with_arguments(doc: str, fields: Sequence[Field[Any]]) -> str:
    """Return a docstring in Google style with a line for each option after its own arguments."""
    lines = [
        textwrap.fill(
            f"{field.name}: {description(field)}",
            112,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
        )
        for field in fields
    ]
    head, found, tail = doc.partition("\n\n    Returns:")
    if not found:
        head, found, tail = doc.partition("\n\n    Raises:")
    title = "" if "\n    Args:\n" in head else "\n\n    Args:"
    return "\n".join([f"{head.rstrip()}{title}", *lines]) + found + tail


def description(field: Field[Any]) -> str:
    """Describe an option, its allowed values and its default, in full sentences."""
    spec = spec_of(field)
    text = spec.help if spec.help.endswith(".") else f"{spec.help}."
    if spec.choices is not None:
        text += f" One of: {', '.join(spec.choices)}."
    if spec.range_text and spec.range_text not in text:
        text += f" Range: {spec.range_text}."
    if spec.default_text is not None:
        text += f" Default: {spec.default_text}."
    return text
