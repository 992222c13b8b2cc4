"""The verb ``plan``: what ``optimize`` would try, in its order, with nothing measured and nothing written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.inputs import axis_notes
from compress.api.keywords import OptimizeKeywords
from compress.api.options import OptimizeOptions
from compress.api.search_inputs import open_search
from compress.core.options import takes
from compress.core.progress import Reporter
from compress.search.forecast import Forecast, Seconds
from compress.techniques import load_technique

if TYPE_CHECKING:
    import torch

    from compress.data.task import Task
    from compress.recipe import Recipe
    from compress.search.plan import SearchPlan


@dataclass(frozen=True)
class PlannedBuild:
    """A build that ``optimize`` may make.

    Attributes:
        recipe: Its recipe, as far as it is known; where measurements decide, its name tells all that it may be.
        backend: Back end that runs it.
        needs: Things that it takes besides the network and the evaluation data, such as ``"512 calibration samples"``.
        when: Condition under which it is tried, as a clause; None for a build that is tried in any case.
        minutes: Whether it takes minutes: it trains, tries many variants, or an engine is built on a board.
        seconds: Interval of the time that it takes, in seconds; None for minutes, and for a network with operators of
            unknown cost.
    """

    recipe: Recipe
    backend: str
    needs: tuple[str, ...]
    when: str | None
    minutes: bool
    seconds: Seconds | None


@dataclass(frozen=True)
class PlanResult:
    """Result of :func:`plan`.

    Attributes:
        builds: Builds that may be tried, in their order; the original first.
        target: Name of the target.
        samples: Number of samples that are evaluated, calibrated on and trained on, by ``evaluation``, ``calibration``
            and ``training``.
        extent: Sentence on the number of builds and on what limits the time.
        notes: Further notes for the user, such as on a back end that could have competed.
    """

    builds: tuple[PlannedBuild, ...]
    target: str
    samples: dict[str, int]
    extent: str
    notes: tuple[str, ...]

    @property
    def seconds(self) -> Seconds:
        """Time of the builds whose time is known: of those tried in any case, and of all, in seconds."""
        estimates = [(build.when, build.seconds) for build in self.builds if build.seconds is not None]
        return Seconds(
            sum(seconds.low for when, seconds in estimates if when is None),
            sum(seconds.high for _, seconds in estimates),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the dict that ``compress optimize --dry-run --json`` prints."""
        return {
            "schema": 1,
            "target": self.target,
            "samples": self.samples,
            "builds": [
                {
                    "recipe": build.recipe.to_dict(),
                    "backend": build.backend,
                    "needs": list(build.needs),
                    "when": build.when,
                    "minutes": build.minutes,
                    "seconds": None if build.seconds is None else _rounded(build.seconds),
                }
                for build in self.builds
            ],
            "seconds": _rounded(self.seconds),
            "extent": self.extent,
            "notes": list(self.notes),
        }


@takes(OptimizeOptions)
def plan(
    model: str | Path | torch.nn.Module,
    *,
    reporter: Reporter | None = None,
    **options: Unpack[OptimizeKeywords],
) -> PlanResult:
    """List what :func:`optimize` would try with the same arguments; nothing is measured, and nothing is written.

    Args:
        model: A torch.export, TorchScript, state-dict, pickled or ONNX file, a Hugging Face directory, ``timm:NAME``,
            or a live module, which is not modified.
        reporter: Receives the progress; None reports to nobody.

    Returns:
        The builds in their order, each with what it needs, its condition and an estimate of its time.

    Raises:
        UsageError: An argument cannot be used; the message says what to do.
        UnavailableError: The target's back end is not on this machine, or the host does not answer.
    """
    request = OptimizeOptions.of(options)
    opened = open_search(model, request, reporter or Reporter())
    network, task = opened.inputs.network, opened.inputs.task
    with opened.cluster or nullcontext(), opened.host:
        search = opened.plan()
        forecast = Forecast(network, task, opened.target, opened.host, request.seconds)
        own_backend = opened.host.backend.name if opened.target.here else opened.target.backend
        return PlanResult(
            tuple(_planned(search, forecast, task, own_backend)),
            opened.target.name,
            _samples(task),
            search.extent(request.seconds),
            (*axis_notes(network), *opened.notes(search)),
        )


def _planned(
    plan: SearchPlan, forecast: Forecast, task: Task, default_backend: str
) -> Iterator[PlannedBuild]:
    for proposal in plan.listed():
        recipe, seconds = proposal.recipe, forecast.of(proposal.recipe)
        yield PlannedBuild(
            recipe,
            recipe.backend or default_backend,
            tuple(_needs(recipe, task)),
            proposal.when,
            forecast.takes_minutes(recipe),
            None if seconds is None else Seconds(seconds.low, seconds.high * proposal.most),
        )


def _needs(recipe: Recipe, task: Task) -> Iterator[str]:
    """Yield what the techniques of a recipe need, each once, samples with their number."""
    samples = _samples(task)
    needed = [need for step in recipe.steps for need in load_technique(step).needs()]
    for need in dict.fromkeys(needed):
        number = {"calibration samples": samples["calibration"]}.get(need)
        yield need if number is None else f"{number} {need}"


def _samples(task: Task) -> dict[str, int]:
    return {
        "evaluation": len(task.evaluation),
        "calibration": len(task.calibration),
        "training": 0 if task.training is None else len(task.training),
    }


def _rounded(seconds: Seconds) -> list[float]:
    """Return both ends with two digits that count: an estimate has no more."""
    return [_two_digits(second) for second in seconds]


def _two_digits(number: float) -> float:
    return round(number, 1 - math.floor(math.log10(number))) if number > 0 else 0.0
