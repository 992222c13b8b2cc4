"""``compress techniques``: what a recipe can name, and the settings of each."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from compress.cli.command import Command
from compress.cli.saying import columns_of, say, tell
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text

if TYPE_CHECKING:
    import dataclasses

    from compress.techniques.base import Technique

#: Width of a wrapped text, in characters.
_WIDTH = 80


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the techniques and their settings as JSON.")
def techniques(name: str | None, as_json: bool) -> None:
    """List the techniques that a recipe can name, or explain NAME: every setting, its default and its range.

    \b
    Example:
      compress techniques prune

    A recipe is a TOML file for `compress optimize --recipe FILE`, with a table [[technique]] for each of its steps.
    """
    from compress.errors import CompressError
    from compress.techniques import TECHNIQUES

    kinds, broken = {}, {}
    with kept_for_the_result():
        for technique_name in TECHNIQUES.names() if name is None else [name]:
            try:
                kinds[technique_name] = TECHNIQUES.load(technique_name)
            except CompressError as error:
                if name is not None:
                    raise
                broken[technique_name] = str(error)
    if as_json:
        entries = [_as_json(technique_name, kind) for technique_name, kind in kinds.items()]
        click.echo(json_text({"schema": 1, "techniques": entries}, indent=2))
    elif name is None:
        wide = max(map(len, kinds), default=0)
        for technique_name, kind in kinds.items():
            _wrap(f"{technique_name:{wide}}  {_summary(kind)}", " " * (wide + 2))
    else:
        _explain(name, kinds[name])
    for technique_name, problem in broken.items():
        tell(f"left out: {technique_name}: {problem}")


def _summary(kind: type[Technique]) -> str:
    """Return the first sentence about a technique, or nothing where it has no docstring of its own."""
    from compress.core.docstrings import without_attributes

    return without_attributes(kind).partition("\n")[0]


def _explain(name: str, kind: type[Technique]) -> None:
    from compress.core.docstrings import without_attributes

    for number, paragraph in enumerate(without_attributes(kind).split("\n\n")):
        if number:
            say()
        _wrap(f"{name}: {paragraph}" if not number else paragraph, "")
    settings = _settings(kind)
    say()
    say("settings:" if settings else "no settings")
    for setting in settings:
        say(f"  {setting['name']} = {_toml(setting['default'])}")
        _wrap(f"      {setting['help']}", "      ")
    say()
    say("in a recipe:")
    say("  [[technique]]")
    say(f'  name = "{name}"')
    if settings:
        first = next((setting for setting in settings if setting["default"] is not None), None)
        if first is not None:
            say(f"  {first['name']} = {_toml(first['default'])}")


def _as_json(name: str, kind: type[Technique]) -> dict[str, Any]:
    return {"name": name, "summary": _summary(kind), "settings": _settings(kind)}


def _settings(kind: type[Technique]) -> list[dict[str, Any]]:
    """Return name, default, range and meaning of each setting, in their order."""
    import dataclasses

    from compress.core.docstrings import attributes_of, unmarked

    attributes = attributes_of(kind)
    return [
        {
            "name": field.name,
            "default": _default(field),
            **_range(field),
            "help": unmarked(_meaning(field, attributes.get(field.name, ""))),
        }
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]  # the registry takes dataclasses alone
    ]


def _default(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a setting, as JSON and TOML hold it; None also where it must be given."""
    import dataclasses

    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return None
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float | list | dict | None) else str(value)


def _range(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """Return the range and the choices of a setting that declares them; others tell them in words."""
    from compress.core.options import KEY, spec_of

    if KEY not in field.metadata:
        return {"range": None, "choices": None}
    spec = spec_of(field)
    return {"range": spec.range_text or None, "choices": None if spec.choices is None else list(spec.choices)}


def _meaning(field: dataclasses.Field[Any], attribute_text: str) -> str:
    from compress.core.options import KEY, description

    return description(field) if KEY in field.metadata else attribute_text


def _toml(value: Any) -> str:
    """Return a default as TOML writes it; TOML has nothing for None, which is the same as leaving the key out."""
    return "(left out)" if value is None else json_text(value)


def _wrap(text: str, indent: str) -> None:
    width = min(_WIDTH, columns_of(sys.stdout)) if sys.stdout.isatty() else _WIDTH
    for line in textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False):
        say(line)
