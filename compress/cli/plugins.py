"""``compress plugins``: everything that has a name, where it comes from, and what cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from compress.cli.saying import say
from compress.cli.stdout import kept_for_the_result
from compress.core.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compress.core.registry import Entry, Registry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print every entry as one JSON object.")
def plugins(as_json: bool) -> int:
    """List techniques, back ends, metrics, targets, data readers, lint rules and report formats, and who brings them.

    \b
    Example:
      compress plugins --json

    Whatever other distributions brought is imported, to see that it can be used. The exit code is 1 where something
    cannot, 0 otherwise.
    """
    with kept_for_the_result():
        found = [(registry, list(_checked(registry))) for registry in registries()]
    if as_json:
        listed = [_as_json(registry, *each) for registry, entries in found for each in entries]
        click.echo(json_text({"plugins": listed}, indent=2))
    else:
        for registry, entries in found:
            _tell(registry, entries)
    return int(any(problem for _, entries in found for _, problem in entries))


def registries() -> list[Registry[Any]]:
    """The registry of each kind of thing that has a name."""
    from compress.data.readers import READERS
    from compress.lint.checks import LINT_RULES
    from compress.metrics import METRICS
    from compress.reports.formats import FORMATS
    from compress.target.backends import BACKENDS
    from compress.target.target import TARGETS
    from compress.techniques import TECHNIQUES

    return [TECHNIQUES, BACKENDS, METRICS, TARGETS, READERS, LINT_RULES, FORMATS]


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
    say(f"  built in: {', '.join(usable)}")
    for entry, problem in entries:
        if problem is not None:
            say(f"  {entry.name}, of {entry.origin}: cannot be used: {problem}")
        elif not entry.built_in:
            say(f"  {entry.name}, of {entry.origin} ({entry.reference})")
