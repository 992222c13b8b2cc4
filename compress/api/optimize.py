"""The verb ``optimize``: from a trained network to the fastest build that keeps its accuracy."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from compress.api.inputs import axis_notes, open_inputs, sized_target
from compress.api.options import OptimizeKeywords, OptimizeOptions
from compress.api.shipping import BestSoFar
from compress.bundle.bundle import Bundle, beside, check_replaceable, load_bundle
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.hosts import connect
from compress.network.streams import state_notes
from compress.search.attempts import Attempts, failure_of
from compress.search.backends import check_sessions, competing_backends
from compress.search.decision import Choice, Limits, Objective, settings_notes
from compress.search.plan import SearchPlan, checked_recipes
from compress.search.run_directory import Candidate, RunDirectory
from compress.target.shape_ranges import shape_text
from compress.target.target import Target, load_target

if TYPE_CHECKING:
    import torch

    from compress.recipe import Recipe


@dataclass(frozen=True)
class OptimizeResult:
    """Result of :func:`optimize`.

    Attributes:
        bundle: The bundle that was shipped, read back from disk; None where no build is inside the limits.
        choice: The chosen candidate, and the reason.
        candidates: All candidates that were tried, the original first.
        target: Target of the builds.
        limits: Limits that the user set.
        notes: Further notes for the user, such as on a back end that could have competed.
        resumed: Number of candidates that an earlier, interrupted run had measured already.
        seconds: Wall time of this run, in seconds.
        unapplied: Why a recipe of the user's own could not be applied, built or run, by its name; empty if all could.
    """

    bundle: Bundle | None
    choice: Choice
    candidates: tuple[Candidate, ...]
    target: Target
    limits: Limits
    notes: tuple[str, ...]
    resumed: int
    seconds: float
    unapplied: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the dict that ``compress optimize --json`` prints; per-sample outcomes are in the bundle only."""
        candidates = []
        for entry in self.candidates:
            data = {**entry.to_dict(), "verdict": self.choice.verdicts[entry.recipe.name]}
            if data["profile"] is not None:
                data["profile"]["outcomes"] = ""
            candidates.append(data)
        return {
            "schema": 1,
            "bundle": None if self.bundle is None else str(self.bundle.path),
            "shipped": None if self.choice.candidate is None else self.choice.candidate.recipe.name,
            "reason": self.choice.reason,
            "front": list(self.choice.front),
            "target": self.target.name,
            "limits": dataclasses.asdict(self.limits),
            "candidates": candidates,
            "notes": list(self.notes),
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
        }


@takes(OptimizeOptions)
def optimize(
    model: str | Path | torch.nn.Module,
    *,
    reporter: Reporter | None = None,
    **options: Unpack[OptimizeKeywords],
) -> OptimizeResult:
    """Find the fastest build of a trained network for a target that keeps its accuracy.

    Args:
        model: A torch.export, TorchScript, state-dict, pickled or ONNX file, or a live module, which is not modified.
        reporter: Receives the progress; None reports to nobody.

    Returns:
        The bundle with its measurements, and all candidates that were tried.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
        UnavailableError: The target's back end is not on this machine, or the host does not answer.
    """
    start = time.perf_counter()
    asked = OptimizeOptions.of(options)
    reporter = reporter or Reporter()
    limits = Limits(asked.max_drop, asked.max_latency, asked.max_size, cast("Objective", asked.objective))
    out, recipes = Path(asked.out), checked_recipes(asked.recipes)
    check_replaceable(out)
    target = load_target(asked.target)
    rivals = competing_backends(target, asked.backends)
    check_sessions(recipes, target)

    inputs = open_inputs(
        model, asked, reporter, target=target, train_data=asked.train_data, shape=asked.shape
    )
    network, task = inputs.network, inputs.task
    target = sized_target(inputs, asked.shape)
    host = connect(target, asked.seconds, asked.host, keep=asked.keep_on_host, on_note=reporter.stage)
    target = host.adapt(target)
    attempts = Attempts(
        network, task, target, host, rivals, limits, asked.seed, asked.threads, asked.seconds, reporter
    )

    with host, RunDirectory(beside(out, ".partial"), attempts.key()) as run:
        plan = SearchPlan(network, task, target, host, limits, recipes, rivals, run, asked.time_budget, start)
        plan.begin(asked.seconds, reporter)
        noted = (*inputs.doubts, *state_notes(task), *plan.notes)
        best = BestSoFar(out, run, network, task, target, host, limits, _user_options(asked), noted, reporter)
        for recipe in plan.proposals():
            candidate = attempts.recorded(recipe, run, retry_failed=asked.retry_failed)
            resumed = candidate is not None
            if candidate is None:
                if best.candidates and plan.is_over(recipe):
                    break
                candidate = attempts.attempt(recipe, run)
                run.record(candidate)
            reporter.end(candidate, resumed=resumed)
            best.tried(candidate)
        reporter.stage("writing the bundle")
        choice = best.finish(plan.stopped)
        if choice.candidate is not None:
            run.remove()

    notes = (
        *axis_notes(network),
        *noted,
        *((_kept_note(run),) if choice.candidate is None else settings_notes(choice.candidate)),
        *plan.stopped,
    )
    return OptimizeResult(
        bundle=None if choice.candidate is None else load_bundle(out),
        choice=choice,
        candidates=tuple(best.candidates),
        target=target,
        limits=limits,
        notes=notes,
        resumed=run.resumed,
        seconds=time.perf_counter() - start,
        unapplied=_unapplied(recipes, best.candidates),
    )


def _unapplied(recipes: Sequence[Recipe], candidates: Sequence[Candidate]) -> dict[str, str]:
    """Return why each of the user's own recipes that could not be applied, built or run was not, by its name."""
    names = {recipe.name for recipe in recipes}
    reasons = {entry.recipe.name: failure_of(entry) for entry in candidates if entry.recipe.name in names}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _kept_note(run: RunDirectory) -> str:
    return (
        f"what was measured is kept in {run.directory}: the same command with other limits takes it over; "
        "delete that directory to measure anew"
    )


def _user_options(asked: OptimizeOptions) -> dict[str, Any]:
    """Return the options that the user set, by the command's option names, as a bundle's manifest stores them."""
    return {
        "max-drop": asked.max_drop,
        "max-latency": asked.max_latency,
        "max-size": asked.max_size,
        "objective": asked.objective,
        "backend": list(asked.backends),
        "threads": asked.threads,
        "seconds": asked.seconds,
        "time-budget": asked.time_budget,
        "seed": asked.seed,
        "factory": asked.factory,
        "trust-pickle": asked.trust_pickle,
        "weights": asked.weights,
        "shape": [f"{name}={'..'.join(map(shape_text, each))}" for name, each in (asked.shape or {}).items()],
        "batch-axis": [
            f"{name}={axis}" if name else str(axis) for name, axis in (asked.batch_axis or {}).items()
        ],
        "state": [f"{name}={output}" for name, output in (asked.state or {}).items()],
        "recipe": [str(recipe) for recipe in asked.recipes if isinstance(recipe, str | Path)],
    }
