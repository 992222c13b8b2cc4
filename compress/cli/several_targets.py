"""``compress optimize`` for several targets, as a person sees it: each by its name, and a line for each at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from compress.cli.saying import say
from compress.core.json_text import json_text
from compress.errors import CompressError

#: Runs the command for one target; returns its exit code, and what ``--json`` prints.
Run = Callable[[Mapping[str, Any]], tuple[int, dict[str, Any]]]


def targets_named(texts: tuple[str, ...]) -> str | list[str] | None:
    """Read the target, or several; None where none is named."""
    return list(texts) if len(texts) > 1 else next(iter(texts), None)


def for_each(
    targets: Sequence[str], options: Mapping[str, Any], run: Run, *, writes: bool, as_json: bool
) -> int:
    """Run a command for several targets, and tell what came of each.

    Args:
        targets: Names of the targets, or their files.
        options: Options of the command; each target gets them with its own directory below ``out``.
        run: Function that runs the command.
        writes: Whether it writes bundles.
        as_json: Whether all results are printed as one JSON object.

    Returns:
        The worst of the exit codes.

    Raises:
        UsageError: A target is unknown or named twice, or a bundle is in the way.
    """
    from compress.api.several_targets import for_targets, targets_record

    begun: list[str] = []

    def begins(name: str) -> None:
        if not as_json:
            if begun:
                say()
            say(f"{name}:")
        begun.append(name)

    def runs(target: Any, out: Path) -> tuple[int, dict[str, Any]]:
        try:
            return run({**options, "target": target, "out": str(out)})
        except CompressError as error:
            say(f"error: {begun[-1]}: {error}", err=True)  # at once: the next target may take hours
            raise

    outcomes = for_targets(targets, Path(options.get("out", "build")), runs, writes=writes, on_begin=begins)
    records: dict[str, dict[str, Any]] = {}
    worst = 0
    for name, outcome in outcomes.items():
        if outcome.error is not None:
            code, records[name] = outcome.error.exit_code, {"error": str(outcome.error)}
        else:
            assert outcome.result is not None
            code, records[name] = outcome.result
        worst = max(worst, code)
    if as_json:
        click.echo(json_text(targets_record(records), indent=2))
    else:
        say()
        for name, record in records.items():
            words = f"error: {record['error']}" if "error" in record else record.get("reason", "listed")
            say(f"{name}: {words}")
    return worst
