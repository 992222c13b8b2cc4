"""Options as frozen dataclasses that define help, default, range and choices in one place.

Python's signatures and docstrings, the flags of the command line and the pages of the documentation are made from them.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import re
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
        in_python: Form of the value in Python, where the command line has another one; None where both are alike.
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
    in_python: str | None = None

    def wrong(self, value: Any) -> str | None:
        """Return a description of the allowed values where a value is not allowed; None where it is.

        Args:
            value: A number, a text, or any value where neither choices nor limits are set.
        """
        if self.choices is not None and value not in self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is None and self.high is None:
            return None
        number = _is_number(value) and not math.isnan(value)
        too_low = number and self.low is not None and (value < self.low or (self.above and value == self.low))
        too_high = (
            number and self.high is not None and (value > self.high or (self.below and value == self.high))
        )
        return self.range_text if not number or too_low or too_high else None

    @property
    def range_text(self) -> str:
        """Return the limits in words: "above 0", "from 1", "from 0 to below 1"; empty without limits."""
        low = None if self.low is None else f"{'above' if self.above else 'from'} {_limit(self.low)}"
        high = None if self.high is None else f"{'below' if self.below else 'to'} {_limit(self.high)}"
        if low is not None and high is not None:
            return f"{low} {'to ' if self.below else ''}{high}"
        return low or (f"up to {high.removeprefix('to ')}" if high is not None else "")


def _limit(value: float) -> str:
    """Return a limit in digits, without an exponent where it is a whole number."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


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


def like(kind: type[Options], name: str, **changes: Any) -> Any:
    """Make a field like that of another options class.

    Args:
        kind: The other class.
        name: Name of its option.
        **changes: Attributes of :class:`Option` that differ; ``default`` is the value where none is given.
    """
    field = next(option_field for option_field in option_fields(kind) if option_field.name == name)
    default = changes.pop("default", field.default)
    return dataclasses.field(default=default, metadata={KEY: dataclasses.replace(spec_of(field), **changes)})


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
        known_fields = {field.name: field for field in option_fields(cls)}
        for name in given:
            if name in cls.RENAMED:
                raise UsageError(
                    flag_of(cls, cls.RENAMED[name]),
                    _flag(name),
                    "use the new name: the old one meant two things",
                )
            if name not in known_fields:
                near = did_you_mean(name, known_fields) or f"use one of {', '.join(known_fields)}"
                raise UsageError("an option that exists", f"'{name}'", near)
        chosen = {
            name: value
            for name, value in given.items()
            if value is not None or known_fields[name].default is None
        }
        for name, field in known_fields.items():
            if name not in chosen and field.default is MISSING:
                raise UsageError(flag_of(cls, name), "none", "give it")
        for name, value in chosen.items():
            fault = fault_of(known_fields[name], value)
            if fault is not None:
                raise UsageError(f"{flag_of(cls, name)} {fault}", repr(value), "correct it")
        return cls(**chosen)


def option_fields(kind: type[Options]) -> tuple[Field[Any], ...]:
    """Return the option fields of a class: by the rank of the classes that declare them, then in order."""
    declared = [field for field in dataclasses.fields(kind) if KEY in field.metadata]
    return tuple(sorted(declared, key=lambda field: declared_in(kind, field.name).RANK))


def declared_in(kind: type[Options], name: str) -> type[Options]:
    """Return the class among the bases of an options class that declares an option."""
    classes = [ancestor for ancestor in kind.__mro__ if issubclass(ancestor, Options)]
    return next(options_class for options_class in classes if name in inspect.get_annotations(options_class))


def spec_of(field: Field[Any]) -> Option:
    """Return the description of an option."""
    description: Option = field.metadata[KEY]
    return description


def kind_of(field: Field[Any]) -> str:
    """Return the type that a value of an option must have: "bool", "int", "float", "Sequence" or "Mapping".

    Args:
        field: The option; its type is read as it is written.

    Returns:
        The type's name without its parameters; empty where the option takes values of several types, or of another.
    """
    plain = re.sub(r"\[.*\]", "", str(field.type))
    types = [part.strip() for part in plain.split("|") if part.strip() != "None"]
    return types[0] if len(types) == 1 and types[0] in _WORDS else ""


def element_kind_of(field: Field[Any]) -> str:
    """Return the type of the elements of a list, "int", "float" or "str"; empty where the option is no such list."""
    match = re.fullmatch(r"Sequence\[(int|float|str)\]", str(field.type).removesuffix(" | None"))
    return "" if match is None else match[1]


def is_numeric(field: Field[Any]) -> bool:
    """Whether an option is a number, or holds numbers in lists or mappings at any depth."""
    return re.search(r"\b(int|float)\b", str(field.type)) is not None


def fault_of(field: Field[Any], value: Any) -> str | None:
    """Return the values that an option may have, in words, where a value is none of them; None where it is.

    Args:
        field: The option.
        value: Value that was given, or the default.
    """
    if value is None and field.default is None:
        return None
    kind = kind_of(field)
    if kind and not _has_kind(value, kind):
        limits = "" if kind == "Sequence" else spec_of(field).range_text
        return f"as {_WORDS[kind]}{f' {limits}' if limits else ''}"
    if kind == "Sequence":
        return _fault_of_elements(field, value)
    if kind == "Mapping":
        return _fault_of_values(field, value)
    return spec_of(field).wrong(value)


def _fault_of_values(field: Field[Any], options: Mapping[Any, Any]) -> str | None:
    """Return what is wrong with the values of a mapping: numbers, or lists of numbers at any depth."""
    if not is_numeric(field):
        return None
    integral, spec = "float" not in str(field.type), spec_of(field)
    numbers = list(_leaves(options.values()))
    if all(
        _has_kind(number, "int" if integral else "float") and spec.wrong(number) is None for number in numbers
    ):
        return None
    return f"with {_ELEMENTS['int' if integral else 'float']} {spec.range_text}".rstrip()


def _leaves(values: Collection[Any]) -> Iterator[Any]:
    for value in values:
        if _has_kind(value, "Sequence"):
            yield from _leaves(value)
        else:
            yield value


def _fault_of_elements(field: Field[Any], values: Collection[Any]) -> str | None:
    kind, spec = element_kind_of(field), spec_of(field)
    if all((not kind or _has_kind(value, kind)) and spec.wrong(value) is None for value in values):
        return None
    if spec.choices is not None:
        return f"as a list out of {', '.join(spec.choices)}"
    return f"as a list of {_ELEMENTS[kind]}{f' {spec.range_text}' if spec.range_text else ''}"


#: What a value of each type is called in messages.
_WORDS = {
    "bool": "True or False",
    "int": "a whole number",
    "float": "a finite number",
    "Sequence": "a list, not a text",
    "Mapping": "a mapping, such as {'input': …}",
}


#: What the elements of a list of each type are called in messages.
_ELEMENTS = {"int": "whole numbers", "float": "finite numbers", "str": "texts", "": "values"}


def _has_kind(value: Any, kind: str) -> bool:
    if kind == "str":
        return isinstance(value, str)
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if kind == "float":
        return _is_number(value) and math.isfinite(value)
    if kind == "Sequence":
        return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    return isinstance(value, Mapping)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def flag_of(kind: type[Options], name: str) -> str:
    """Return the command line's flag for an option of a class: ``--max-drop``."""
    field = next(option_field for option_field in option_fields(kind) if option_field.name == name)
    return spec_of(field).flag or _flag(name)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def takes(kind: type[Options], without: Sequence[str] = ()) -> Callable[[Callable[..., Any]], Any]:
    """Show every option of a class in a function's signature and docstring.

    The function itself has ``**options: Unpack[…]`` of a TypedDict with the same names and types, for type checkers
    and editors; this is for ``help()`` and everything else that reads signatures at run time.

    Args:
        kind: The options class.
        without: Names of options that the function does not take.
    """
    fields = [option_field for option_field in option_fields(kind) if option_field.name not in without]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function)
        named = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        parameters = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=field.type,
            )
            for field in fields
        ]
        before = [parameter for parameter in named if parameter.kind is not parameter.KEYWORD_ONLY]
        after = [parameter for parameter in named if parameter.kind is parameter.KEYWORD_ONLY]
        function.__signature__ = signature.replace(parameters=[*before, *parameters, *after])  # type: ignore[attr-defined]
        function.__doc__ = _with_arguments(function.__doc__ or "", fields)
        return function

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
    head, section, tail = doc.partition("\n\n    Returns:")
    if not section:
        head, section, tail = doc.partition("\n\n    Raises:")
    title = "" if "\n    Args:\n" in head else "\n\n    Args:"
    return "\n".join([f"{head.rstrip()}{title}", *lines]) + section + tail


def description(field: Field[Any]) -> str:
    """Describe an option, its allowed values and its default, in full sentences."""
    spec = spec_of(field)
    text = spec.help if spec.help.endswith(".") else f"{spec.help}."
    if spec.choices is not None:
        text += f" One of: {', '.join(spec.choices)}."
    if spec.range_text and spec.range_text not in text:
        text += f" Range: {spec.range_text}."
    if spec.in_python is not None:
        text += f" In Python {spec.in_python}."
    if spec.default_text is not None:
        text += f" Default: {spec.default_text}."
    return text
