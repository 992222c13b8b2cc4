"""``compress optimize`` for several targets: one after another, each with a bundle of its own below OUT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.cli.saying import say
from compress.core.files import written_safely
from compress.core.json_text import json_text
from compress.errors import CompressError, UsageError

if TYPE_CHECKING:
    from compress.target.target import Target

#: Runs the command for one target; returns its exit code, and what ``--json`` prints.
Run = Callable[[Mapping[str, Any]], tuple[int, dict[str, Any]]]


@dataclass(frozen=True)
class _Outcome:
    """Outcome for one target.

    Attributes:
        code: Exit code.
        words: Reason of the choice, or the error, in a few words.
        record: Content for ``--json``.
    """

    code: int
    words: str
    record: dict[str, Any]


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
    out = Path(options.get("out", "build"))
    loaded = _loaded(targets)
    _check_holds_no_bundle(out)
    if writes:
        with written_safely(out):
            out.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, _Outcome] = {}
    for given, target in zip(targets, loaded, strict=True):
        if not as_json:
            if outcomes:
                say()
            say(f"{target.name}:")
        place = out / target.name if writes else out
        outcomes[target.name] = _outcome(run, {**options, "target": given, "out": str(place)}, target.name)
    if as_json:
        results = {name: outcome.record for name, outcome in outcomes.items()}
        click.echo(json_text({"schema": 1, "targets": results}, indent=2))
    else:
        say()
        for name, outcome in outcomes.items():
            say(f"{name}: {outcome.words}")
    return max(outcome.code for outcome in outcomes.values())


def _outcome(run: Run, options: Mapping[str, Any], name: str) -> _Outcome:
    try:
        code, record = run(options)
    except CompressError as error:  # the others may still have a build
        say(f"error: {name}: {error}", err=True)
        return _Outcome(error.exit_code, f"error: {error}", {"error": str(error)})
    return _Outcome(code, str(record.get("reason", "listed")), record)


def _loaded(targets: Sequence[str]) -> list[Target]:
    """Return the targets, of which each bundle gets its name."""
    from compress.target.target import load_target

    loaded = [load_target(target) for target in targets]
    counts = Counter(target.name for target in loaded)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise UsageError("each --target once", f"'{twice}' twice", "leave one out")
    return loaded


def _check_holds_no_bundle(out: Path) -> None:
    from compress.bundle.bundle import MANIFEST

    if (out / MANIFEST).exists() or (out.exists() and not out.is_dir()):
        raise UsageError(
            "a directory for one bundle of each target",
            f"{out}, which is a {'bundle' if out.is_dir() else 'file'}",
            "choose another --out, or move it away",
        )
