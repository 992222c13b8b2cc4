"""The verb ``optimize``: from a trained network to the fastest build that keeps its accuracy."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.inputs import axis_notes
from compress.api.keywords import OptimizeKeywords
from compress.api.options import OptimizeOptions
from compress.api.search_inputs import open_search
from compress.api.shipping import BestSoFar, check_front
from compress.bundle.bundle import Bundle, load_bundle
from compress.bundle.writing import beside
from compress.core.content_cache import ContentCache
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.search.attempts import Attempts
from compress.search.decision import Choice, settings_notes
from compress.search.limits import Limits
from compress.search.run_directory import Candidate, RunDirectory
from compress.target.shape_ranges import shape_text
from compress.target.target import Target

if TYPE_CHECKING:
    import torch


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
        front_bundles: Directory of the bundle of each build on the Pareto front, by its name, the best by the objective
            first; empty where the front was not asked for.
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
    front_bundles: Mapping[str, Path] = field(default_factory=dict)

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
            "front_bundles": {name: str(path) for name, path in self.front_bundles.items()},
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
        model: A torch.export, TorchScript, state-dict, pickled or ONNX file, a Hugging Face directory, ``timm:NAME``,
            or a live module, which is not modified.
        reporter: Receives the progress; None reports to nobody.

    Returns:
        The bundle with its measurements, and all candidates that were tried.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
        UnavailableError: The target's back end is not on this machine, or the host does not answer.
    """
    start = time.perf_counter()
    request = OptimizeOptions.of(options)
    reporter = reporter or Reporter()
    out = Path(request.out)
    opened = open_search(model, request, reporter)
    network, task, target = opened.inputs.network, opened.inputs.task, opened.target
    host, limits = opened.host, opened.limits
    attempts = Attempts(
        network,
        task,
        target,
        host,
        opened.rivals,
        limits,
        request.seed,
        request.threads,
        request.seconds,
        reporter,
        request.device,
        ContentCache.of(request.cache, reporter.note),
    )

    if limits.front:
        check_front(out, [proposal.recipe.name for proposal in opened.plan().listed()])
    with (
        opened.cluster or nullcontext(),
        host,
        RunDirectory(beside(out, ".partial"), attempts.key()) as run,
        opened.builder(attempts, run, reporter) as builder,
    ):
        attempts.builder = builder
        plan = opened.plan()
        plan.begin(run, request.seconds, reporter)
        noted = opened.notes(plan)
        best = BestSoFar(
            out,
            run,
            network,
            task,
            target,
            host,
            limits,
            _user_options(request),
            noted,
            reporter,
            draft=opened.draft,
        )
        for recipe in plan.proposals(run):
            candidate = attempts.recorded(recipe, run, retry_failed=request.retry_failed)
            resumed = candidate is not None
            if candidate is None:
                if best.candidates and plan.is_over(recipe):
                    break
                if run.candidates:
                    builder.expect(*plan.following(recipe, run))
                candidate = attempts.attempt(recipe, run)
                run.record(candidate)
            reporter.end(candidate, resumed=resumed)
            if candidate.recipe.origin == "network":
                plan.saw_original(candidate, reporter)
                best.notes = (*best.notes, *plan.evidence)
            best.tried(candidate)
        reporter.stage("writing the bundle")
        choice = best.finish(plan.stopped, plan.untried)
        if choice.candidate is not None:
            run.remove()

    notes = (
        *axis_notes(network),
        *noted,
        *plan.evidence,
        *best.draft_notes,
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
        unapplied=_unapplied(best.candidates),
        front_bundles=best.front,
    )


def _unapplied(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Return why each of the user's own recipes that could not be applied, built or run was not, by its name."""
    return {
        entry.recipe.name: entry.failure
        for entry in candidates
        if entry.recipe.origin == "user" and entry.failure is not None
    }


def _kept_note(run: RunDirectory) -> str:
    return (
        f"what was measured is kept in {run.directory}: the same command with other limits takes it over; "
        "delete that directory to measure anew"
    )


def _user_options(options: OptimizeOptions) -> dict[str, Any]:
    """Return the options that the user set, by the command's option names, as a bundle's manifest stores them."""
    return {
        "max-drop": options.max_drop,
        "max-latency": options.max_latency,
        "max-size": options.max_size,
        "max-memory": options.max_memory,
        "max-power": options.max_power,
        "objective": options.objective,
        "front": options.front,
        "draft": None if options.draft is None else str(options.draft),
        "backend": list(options.backends),
        "threads": options.threads,
        "seconds": options.seconds,
        "time-budget": options.time_budget,
        "tune": options.tune,
        "seed": options.seed,
        "device": options.device,
        "factory": options.factory,
        "trust-pickle": options.trust_pickle,
        "weights": options.weights,
        "shape": [
            f"{name}={'..'.join(map(shape_text, bounds))}" for name, bounds in (options.shape or {}).items()
        ],
        "batch-axis": [
            f"{name}={axis}" if name else str(axis) for name, axis in (options.batch_axis or {}).items()
        ],
        "state": [f"{name}={output}" for name, output in (options.state or {}).items()],
        "recipe": [str(recipe) for recipe in options.recipes if isinstance(recipe, str | Path)],
    }
