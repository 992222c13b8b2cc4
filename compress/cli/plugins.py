"""``compress plugins``: everything that has a name, where it comes from, and what cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from compress.cli.command import Command
from compress.cli.saying import say, say_wrapped
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compress.core.registry import Entry, Registry


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print every entry as one JSON object.")
def plugins(as_json: bool) -> int:
    """List everything that has a name, and which distribution brings it: techniques, back ends, metrics and the like.

    \b
    Example:
      compress plugins --json

    Whatever other distributions brought is imported, to see that it can be used. The exit code is 1 where something
    cannot, 0 otherwise.
    """
    with kept_for_the_result():
        by_registry = [(registry, list(_checked(registry))) for registry in registries()]
    if as_json:
        listed = [_as_json(registry, *entry) for registry, entries in by_registry for entry in entries]
        click.echo(json_text({"plugins": listed}, indent=2))
    else:
        for registry, entries in by_registry:
            _tell(registry, entries)
    return int(any(problem for _, entries in by_registry for _, problem in entries))


def registries() -> list[Registry[Any]]:
    """Return the registry of each kind of object that users can name."""
    from compress.data.readers import READERS
    from compress.lint.checks import LINT_RULES
    from compress.metrics import METRICS
    from compress.network.described_operators import DESCRIBED_OPERATORS
    from compress.reports.formats import FORMATS
    from compress.target.backends import BACKENDS
    from compress.target.target import TARGETS
    from compress.techniques import TECHNIQUES

    return [TECHNIQUES, BACKENDS, METRICS, TARGETS, READERS, LINT_RULES, FORMATS, DESCRIBED_OPERATORS]


def _checked(registry: Registry[Any]) -> Iterator[tuple[Entry, str | None]]:
    """Each entry, and why it cannot be used."""
    from compress.target.target import TARGETS, check_target

    for entry in registry.entries():
        yield entry, check_target(entry) if registry is TARGETS else registry.problem(entry)


def _as_json(registry: Registry[Any], entry: Entry, problem: str | None) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "group": registry.group,
        "name": entry.name,
        "built_in": entry.built_in,
        "distribution": entry.distribution,
        "version": entry.version,
        "reference": entry.reference,
        "problem": problem,
    }


def _tell(registry: Registry[Any], entries: list[tuple[Entry, str | None]]) -> None:
    say(f"{registry.kind}s ({registry.group})")
    usable = [entry.name for entry, problem in entries if entry.built_in and problem is None]
    say_wrapped(f"  built in: {', '.join(usable) or 'none'}", indent="    ")
    for entry, problem in entries:
        if problem is not None:
            say_wrapped(f"  {entry.name}, of {entry.origin}: cannot be used: {problem}", indent="    ")
        elif not entry.built_in:
            say(f"  {entry.name}, of {entry.origin} ({entry.reference})")
