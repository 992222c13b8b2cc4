"""``compress techniques``: what a recipe can name, and the settings of each."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from compress.cli.saying import say
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text

if TYPE_CHECKING:
    import dataclasses

    from compress.techniques.base import Technique

#: Width of a wrapped text, in characters.
_WIDTH = 80


@click.command()
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

    found, broken = {}, {}
    with kept_for_the_result():
        for each in TECHNIQUES.names() if name is None else [name]:
            try:
                found[each] = TECHNIQUES.load(each)
            except CompressError as error:
                if name is not None:
                    raise
                broken[each] = str(error)
    if as_json:
        told = [_as_json(each, kind) for each, kind in found.items()]
        click.echo(json_text(told[0] if name is not None else {"techniques": told}, indent=2))
    elif name is None:
        wide = max(map(len, found), default=0)
        for each, kind in found.items():
            _wrap(f"{each:{wide}}  {_summary(kind)}", " " * (wide + 2))
    else:
        _explain(name, found[name])
    for each, problem in broken.items():
        say(f"left out: {each}: {problem}", err=True)


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
    for each in settings:
        say(f"  {each['name']} = {_toml(each['default'])}")
        _wrap(f"      {each['help']}", "      ")
    say()
    say("in a recipe:")
    say("  [[technique]]")
    say(f'  name = "{name}"')
    if settings:
        first = next((each for each in settings if each["default"] is not None), None)
        if first is not None:
            say(f"  {first['name']} = {_toml(first['default'])}")


def _as_json(name: str, kind: type[Technique]) -> dict[str, Any]:
    return {"name": name, "summary": _summary(kind), "settings": _settings(kind)}


def _settings(kind: type[Technique]) -> list[dict[str, Any]]:
    """Return name, default, range and meaning of each setting, in their order."""
    import dataclasses

    from compress.core.docstrings import attributes_of, unmarked

    told = attributes_of(kind)
    return [
        {
            "name": field.name,
            "default": _default(field),
            **_range(field),
            "help": unmarked(_meaning(field, told.get(field.name, ""))),
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


def _meaning(field: dataclasses.Field[Any], told: str) -> str:
    from compress.core.options import KEY, description

    return description(field) if KEY in field.metadata else told


def _toml(value: Any) -> str:
    """Return a default as TOML writes it; TOML has nothing for None, which is the same as leaving the key out."""
    return "(left out)" if value is None else json_text(value)


def _wrap(text: str, indent: str) -> None:
    for line in textwrap.wrap(text, _WIDTH, subsequent_indent=indent, break_on_hyphens=False):
        say(line)
