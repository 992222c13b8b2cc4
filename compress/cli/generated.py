"""The flags of a command, made from the options class of its verb: one source for help, default, range and choices."""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field
from typing import Any

import click

from compress.cli.waiting import WaitedFor
from compress.core.options import (
    Option,
    Options,
    declared_in,
    element_kind_of,
    kind_of,
    option_fields,
    spec_of,
)

Command = Callable[..., Any]

#: Turns the values of a flag that may be given several times into the value of the option.
Reader = Callable[[tuple[str, ...]], Any]

#: Makes a decorator from an option and the heading under which its flag stands.
Flag = Callable[[Field[Any], str | None], Callable[[Command], Command]]


#: The heading of the flags without one of their own; it comes last.
_REST = "Other options"


class GroupedOption(click.Option):
    """A flag that stands under a heading in the help.

    Args:
        group: The heading; None for the flags without one.
        **settings: Further settings of :class:`click.Option`.
    """

    def __init__(self, *arguments: Any, group: str | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group


class GroupedCommand(WaitedFor):
    """The command of a verb: its help has its flags under headings, and it may run code of the user."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See :meth:`click.Command.format_options`."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", None) or _REST, []).append(record)
        for heading, records in sorted(groups.items(), key=lambda group: group[0] == _REST):
            with formatter.section(heading):
                formatter.write_dl(records)


class Number(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases alone
    """A number inside the limits of an option, never ``nan``."""

    def __init__(self, spec: Option, *, whole: bool) -> None:
        self.name = "integer" if whole else "number"
        self._spec, self._whole = spec, whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        """See :meth:`click.ParamType.convert`."""
        number = self._read(str(value))
        if number is None:
            self.fail(f"'{value}' is no {self.name}", param, ctx)
        expected = self._spec.wrong(number) or ("a finite number" if math.isinf(number) else None)
        if expected is not None:
            self.fail(f"{value} is not {expected}{self._unit}", param, ctx)
        return number

    #: Unit of the limits, for messages, where the value has another one.
    _unit = ""

    def _read(self, text: str) -> int | float | None:
        """Return the number that a text stands for; None where it is none."""
        try:
            return int(text) if self._whole else float(text)
        except ValueError:
            return None


class Duration(Number):
    """A number of seconds, minutes or hours: ``90``, ``90s``, ``10m``, ``2h``; in seconds."""

    def __init__(self, spec: Option) -> None:
        super().__init__(spec, whole=False)
        self.name = "duration"

    _unit = " seconds"

    def _read(self, text: str) -> float | None:
        text = text.strip()
        unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
        number = super()._read(text if unit is None else text[:-1])
        return None if number is None else number * (unit or 1.0)


def options_of(
    kind: type[Options], *, special: Mapping[str, Flag] | None = None
) -> Callable[[Command], Command]:
    """Give a command a flag for each option of a class; what was given arrives as ``options``, by the options' names.

    Args:
        kind: The options class of the verb.
        special: Makers of the flags of options that are more than one plain flag, by the option's name; each hands the
            option's value to the command under that name, None where nothing was given.
    """
    others = dict(special or {})
    fields = list(option_fields(kind))

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(**parameters: Any) -> Any:
            former = {old: parameters.pop(_former(old)) for old in kind.RENAMED}
            values = {field.name: parameters.pop(field.name) for field in fields}
            values_given = {
                name: value
                for name, value in (former | values).items()  # Options.of tells the new names of former ones
                if value is not None and value is not False and value != ()
            }
            return command(options=values_given, **parameters)

        wrapped: Command = gathered
        for old in kind.RENAMED:
            wrapped = click.option(f"--{old.replace('_', '-')}", _former(old), hidden=True)(wrapped)
        for field in reversed(fields):
            group = declared_in(kind, field.name).TITLE
            wrapped = (others.get(field.name) or plain_flag)(field, group)(wrapped)
        return wrapped

    return decorate


def repeated(field: Field[Any], group: str | None, read: Reader) -> Callable[[Command], Command]:
    """Make a flag that may be given again, for an option whose value is made of all of them.

    Args:
        field: The option.
        group: The heading under which it stands in the help.
        read: Function that makes the value from the texts of all flags; an empty tuple where none was given.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_value(**parameters: Any) -> Any:
            parameters[field.name] = read(parameters[field.name])
            return command(**parameters)

        return click.option(
            *names_of(field),
            multiple=True,
            metavar=spec_of(field).metavar,
            help=help_of(field, again=True),
            cls=GroupedOption,
            group=group,
        )(with_value)

    return decorate


def plain_flag(field: Field[Any], group: str | None = None) -> Callable[[Command], Command]:
    """Make one flag for one option, by its type, choices and limits."""
    spec, kind = spec_of(field), kind_of(field)
    number = element_kind_of(field) or kind
    settings: dict[str, Any] = {
        "help": help_of(field, again=kind == "Sequence"),
        "metavar": spec.metavar,
        "cls": GroupedOption,
        "group": group,
    }
    if kind == "bool":
        settings |= {"metavar": None, "is_flag": True}
    elif spec.choices is not None:
        settings["type"] = click.Choice(spec.choices)
    elif spec.metavar == "DURATION":
        settings["type"] = Duration(spec)
    elif number in ("int", "float"):
        settings["type"] = Number(spec, whole=number == "int")
    if kind == "Sequence":
        settings["multiple"] = True
    return typing.cast(
        "Callable[[Command], Command]",
        click.option(*names_of(field), required=field.default is MISSING, **settings),
    )


def names_of(field: Field[Any]) -> tuple[str, str]:
    """Return the flag, and the name under which its value arrives."""
    return spec_of(field).flag or f"--{field.name.replace('_', '-')}", field.name


def help_of(field: Field[Any], *, again: bool = False) -> str:
    """Return the help of an option: what it is, its range where no message states it better, and its default.

    Args:
        field: The option.
        again: Whether the flag may be given several times.
    """
    spec, default = spec_of(field), field.default
    text = spec.help if spec.help.endswith(".") else f"{spec.help}."
    if again:
        text += " May be given again."
    if spec.range_text and "from " not in spec.help:
        text += f" [{spec.range_text}]"
    if spec.default_text is not None:
        text += f" [default: {spec.default_text}]"
    elif default is not MISSING and default is not None and default is not False and default != ():
        text += f" [default: {default}]"
    return text


def _former(name: str) -> str:
    return f"former_{name}"
