"""The configuration file: what a project always passes to compress.

``compress.toml`` in the working directory, or the table ``[tool.compress]`` of ``pyproject.toml`` there:

    target = "jetson"            # for every command that has --target

    [optimize]
    data = "val/"
    max-drop = 0.5

Keys are the flags without their hyphens. A flag on the command line wins. Whoever runs compress in a directory that
came from elsewhere did not write its file: so it may not name code, trust a file, log in to a machine, delete, or write
outside, and the gate takes nothing from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from compress.errors import UsageError

#: Name of the file; beside it, the table of pyproject.toml counts.
NAME, PROJECT = "compress.toml", "pyproject.toml"

#: Flags that the file may not hold, and why.
REFUSED: Mapping[str, str] = {
    "trust-pickle": "it runs whatever code a file holds",
    "factory": "it runs code",
    "check": "it runs a command",
    "host": "it logs in to another machine",
    "remove": "it deletes files",
    "quiet": "whoever runs a command chooses how much it tells",
    "verbose": "whoever runs a command chooses how much it tells",
}

#: Commands that take nothing from the file, and why.
WITHOUT: Mapping[str, str] = {
    "gate": "the file comes with the change that the gate judges, and could loosen it",
}

#: Flags that name files or directories which are written: below the working directory, and set for one command.
WRITTEN = frozenset(
    {"out", "cache", "html", "markdown", "junit", "svg", "png", "csv", "card", "sarif", "fix"}
)


@dataclass(frozen=True)
class Configured:
    """Options that the configuration file sets for a command.

    Attributes:
        file: Name of the file; empty where there is none.
        values: Values as the command line would give them, by the names of the command's parameters.
    """

    file: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    """A configuration file.

    Attributes:
        name: Name of the file.
        where: Name of the file, with the table of it that counts.
        content: Content of that table.
    """

    name: str
    where: str
    content: Mapping[str, Any]


def configured(command: click.Command, name: str, root: click.Context) -> Configured:
    """Return what the file of the working directory sets for a command; the file is read once.

    Args:
        command: The command.
        name: Its name, and that of its table.
        root: Context of the group that all commands are in.

    Raises:
        UsageError: There are two files; or the file cannot be read, has an unknown key, or a value that does not fit or
            is not allowed there.
    """
    file = _read()
    if file is None:
        return Configured()
    group = root.command
    assert isinstance(group, click.Group)
    commands = group.list_commands(root)
    tables = {key: value for key, value in file.content.items() if isinstance(value, dict)}
    for key in tables:
        if key not in commands:
            raise _unknown(key, commands, f"a table of {file.where} with the name of a command")
        if key in WITHOUT:
            raise UsageError(
                f"no table [{key}] in {file.where}",
                "one",
                f"give these flags on the command line of compress {key}: {WITHOUT[key]}",
            )
    if name in WITHOUT:
        return Configured()
    common = {key: value for key, value in file.content.items() if key not in tables}
    options = _options(command)
    for key, value in common.items():
        if key in commands:
            raise UsageError(
                f"a table [{key}] in {file.where}",
                f"{key} = {value!r}",
                f"write its flags below a line [{key}]",
            )
        _check_common(key, value, options, group, root, file.where)
    shared = {key: value for key, value in common.items() if key in options}
    own_table = tables.get(name, {})
    for key in own_table:
        if key not in options:
            raise _unknown(key, options, f"an option of compress {name} in [{name}] of {file.where}")
    defaults = {
        str(options[key].name): _value(key, value, options[key], file.where)
        for key, value in (shared | own_table).items()
    }
    return Configured(file.name, defaults)


def _read() -> _File | None:
    """Read the configuration file of the working directory; None where there is none.

    Raises:
        UsageError: There are two, or one cannot be read.
    """
    from compress.core.toml_schema import read_toml

    table = _project_table()
    if not Path(NAME).is_file():
        return None if table is None else _File(PROJECT, f"[tool.compress] of {PROJECT}", table)
    if table is not None:
        raise UsageError(
            f"one configuration, in {NAME} or in [tool.compress] of {PROJECT}", "both", "remove one of them"
        )
    return _File(NAME, NAME, read_toml(Path(NAME), UsageError))


def _project_table() -> dict[str, Any] | None:
    """Return ``[tool.compress]`` of pyproject.toml; None where it has none. A file that never names it is not read.

    Raises:
        UsageError: The file is no valid TOML, or the table is another value.
    """
    path = Path(PROJECT)
    try:
        if b"compress" not in path.read_bytes():
            return None
    except OSError:
        return None
    from compress.core.toml_schema import read_toml

    table: Any = read_toml(path, UsageError)
    for name, key in (("tool", "tool"), ("tool.compress", "compress")):
        if key not in table:
            return None
        table = table[key]
        if not isinstance(table, dict):
            raise UsageError(f"a table [{name}] in {PROJECT}", f"{name} = {table!r}", "correct it")
    return dict(table)


def _options(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by their keys: the long flags without hyphens before them."""
    return {
        flag.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for flag in parameter.opts
        if flag.startswith("--")
    }


def _check_common(
    key: str,
    value: object,
    options: Mapping[str, click.Option],
    group: click.Group,
    root: click.Context,
    where: str,
) -> None:
    """Refuse a key outside of the tables that no command has, or none may have from the file."""
    _check_allowed(key, value, where)
    if key in WRITTEN:
        raise UsageError(
            f"'{key}' in the table of one command in {where}",
            "it outside of all tables",
            "move it below a line such as [optimize]: each command writes another file",
        )
    if key in options:
        return
    others = [group.get_command(root, name) for name in group.list_commands(root)]
    known_flags = {
        flag for other_options in others if other_options is not None for flag in _options(other_options)
    }
    if key not in known_flags:
        raise _unknown(key, known_flags, f"an option of a command, or a table, in {where}")


def _check_allowed(key: str, value: object, where: str) -> None:
    if key in REFUSED:
        raise UsageError(
            f"no '{key}' in {where}",
            f"{key} = {value!r}",
            f"give --{key} on the command line: {REFUSED[key]}",
        )


def _unknown(key: str, known: Any, wanted: str) -> UsageError:
    from compress.core.suggestions import did_you_mean

    return UsageError(wanted, f"'{key}'", did_you_mean(key, known) or "remove it")


def _value(key: str, value: object, option: click.Option, where: str) -> Any:
    """Return a value as the command line would give it: text, texts, or whether a flag is set."""
    _check_allowed(key, value, where)
    if option.is_flag:
        if isinstance(value, bool):
            return value
        raise UsageError(f"'{key}' in {where} as true or false", repr(value), "correct it")
    if option.nargs != 1:
        raise UsageError(f"no '{key}' in {where}", repr(value), f"give --{key} on the command line")
    texts = list(_texts(key, value, where))
    if not option.multiple and (isinstance(value, list) or len(texts) != 1):
        raise UsageError(f"'{key}' in {where} as one value", repr(value), "correct it")
    for text in texts:
        _check_safe(key, text, where)
    return texts if option.multiple else texts[0]


def _texts(key: str, value: object, where: str) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise UsageError(
                f"'{key}' in {where} as text or a number, written as on the command line",
                repr(value),
                "correct it",
            )
        yield str(item)


def _check_safe(key: str, text: str, where: str) -> None:
    """Refuse a value that names code, or a place outside of the working directory where a file would be written."""
    from compress.core.object_references import is_reference

    for part in (text, text.partition("=")[2]):
        if is_reference(part.partition("(")[0].strip()):
            raise UsageError(
                f"'{key}' in {where} that names no code",
                f"'{text}', which would be imported and run",
                f"give --{key} on the command line",
            )
    here = Path.cwd().resolve()
    if key in WRITTEN and not _resolved(here / text, key, where).is_relative_to(here):
        raise UsageError(
            f"'{key}' in {where} below the working directory",
            f"'{text}'",
            f"give --{key} on the command line, or a path that leads nowhere else",
        )


def _resolved(path: Path, key: str, where: str) -> Path:
    """Return the path with every link in it followed, as far as it exists."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, or a name that no file can have
        raise UsageError(
            f"'{key}' in {where} as a path that can be written", repr(str(path)), "correct it"
        ) from error
