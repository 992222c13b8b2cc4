"""The verb ``optimize`` for several targets: one after another, each with a bundle of its own below ``out``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

from compress.api.keywords import OptimizeKeywords
from compress.api.options import OptimizeOptions
from compress.core.files import written_safely
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.errors import CompressError, UsageError
from compress.target.target import Target, load_target

if TYPE_CHECKING:
    import torch

    from compress.api.optimize import OptimizeResult

T = TypeVar("T")


@dataclass(frozen=True)
class TargetOutcome(Generic[T]):
    """Outcome for one of several targets.

    Attributes:
        result: Result of the verb; None where it failed.
        error: Why it failed; None where it did not.
    """

    result: T | None = None
    error: CompressError | None = None


@takes(OptimizeOptions, without=("target",))
def optimize_targets(
    model: str | Path | torch.nn.Module,
    *,
    targets: Sequence[str | Path | Target],
    reporter: Reporter | None = None,
    **options: Unpack[OptimizeKeywords],
) -> dict[str, TargetOutcome[OptimizeResult]]:
    """Find the fastest build of a trained network for each of several targets.

    What does not depend on the target, such as a training, is done once: see ``cache``. Each target gets a bundle of
    its own, ``out/TARGET``; an error of one leaves the others theirs.

    Args:
        model: A file, a directory or a module, as for :func:`compress.optimize`.
        targets: Names from ``compress targets``, their TOML files, or targets.
        reporter: Receives the progress; None reports to nobody.

    Returns:
        The outcome for each target by its name, in the given order.

    Raises:
        UsageError: A target is unknown or given twice, a bundle is in the way, or an argument cannot be used.
    """
    from compress.api.optimize import optimize

    request = OptimizeOptions.of(options)
    if options.get("target") is not None:
        raise UsageError("targets alone", "target as well", "leave target out, or call optimize for one")

    def run(target: str | Path | Target, out: Path) -> OptimizeResult:
        result: OptimizeResult = optimize(
            model, reporter=reporter, **{**options, "target": target, "out": out}
        )
        return result

    return for_targets(targets, Path(request.out), run)


def for_targets(
    targets: Sequence[str | Path | Target],
    out: Path,
    run: Callable[[str | Path | Target, Path], T],
    *,
    writes: bool = True,
    on_begin: Callable[[str], None] = lambda _: None,
) -> dict[str, TargetOutcome[T]]:
    """Call a function for each of several targets, and keep what it returns or why it fails.

    Args:
        targets: Names of the targets, their files, or targets.
        out: Directory below which each has its own.
        run: Function that is called with a target, as it is given, and the directory that is its own.
        writes: Whether it writes there.
        on_begin: Receives the name of each target before its turn.

    Returns:
        The outcome for each target by its name, in the given order.

    Raises:
        UsageError: No target is given, one is unknown or given twice, or a bundle is in the way.
    """
    names = _names(targets)
    _check_holds_no_bundle(out)
    if writes:
        with written_safely(out):
            out.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, TargetOutcome[T]] = {}
    for target, name in zip(targets, names, strict=True):
        on_begin(name)
        try:
            outcomes[name] = TargetOutcome(result=run(target, out / name if writes else out))
        except CompressError as error:  # the others may still have a build
            outcomes[name] = TargetOutcome(error=error)
    return outcomes


def targets_record(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the dict that ``compress optimize --json`` prints for several targets.

    Args:
        records: Output for each target alone, or ``{"error": message}``, by the target's name.
    """
    return {"schema": 1, "targets": dict(records)}


def _names(targets: Sequence[str | Path | Target]) -> list[str]:
    """Return the targets' names, by which their directories are called."""
    if not targets:
        raise UsageError("one target or more", "none", "name one: compress targets lists them")
    names = [load_target(target).name for target in targets]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UsageError("each target once", f"'{twice}' twice", "leave one out")
    return names


def _check_holds_no_bundle(out: Path) -> None:
    from compress.bundle.bundle import MANIFEST

    if (out / MANIFEST).exists() or (out.exists() and not out.is_dir()):
        raise UsageError(
            "a directory for one bundle of each target",
            f"{out}, which is a {'bundle' if out.is_dir() else 'file'}",
            "choose another --out, or move it away",
        )
