"""The plan of a run: the recipes it will try, announced before the first build, and when it stops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compress.core.progress import Reporter
from compress.data.task import Task
from compress.errors import RecipeError
from compress.hosts.base import Host
from compress.metrics.selection import judging_notes
from compress.network.network import ENCODER_DECODER, GENERATIVE, Network
from compress.onnx_graph.layers import layers, totals
from compress.profiling.accuracy import evidence_notes, evidence_of_original
from compress.profiling.kept_outputs import KeptOutputs
from compress.recipe import Recipe
from compress.search.backends import CompetingBackends
from compress.search.limits import Limits
from compress.search.proposal import Proposal
from compress.search.proposals import ORIGINAL, proposals, propose
from compress.search.run_directory import Candidate, RunDirectory
from compress.search.time_budget import TimeBudget
from compress.target.shape_ranges import range_notes
from compress.target.target import Target
from compress.techniques import load_technique

#: Multiply-accumulates of a call below which it costs what it costs at any width.
_LEAST_PRUNED_MACS = 10_000_000


@dataclass
class SearchPlan:
    """The recipes of one run, in their order.

    Attributes:
        network: The original network.
        task: The data that builds are judged by.
        target: The device that builds are for.
        host: The machine that builds are measured on.
        limits: Limits that the user sets for the build.
        recipes: The user's own recipes; empty for those that the target suggests.
        rivals: The back ends that compete.
        time_budget: Seconds after which no further build is begun; None for the default.
        start: When the run began, on :func:`time.perf_counter`'s clock.
        tune: Number of trainings that search the settings of each training of a pruned network; None searches none.
        notes: Notes for the user before the first build, one line each.
        evidence: A note where the original's values show that the data cannot prove any build; else empty.
        stopped: Reasons why the search ended early, one line each; empty where all recipes were tried.
        untried: Names of the recipes that were not tried since the time was over, in their order.
    """

    network: Network
    task: Task
    target: Target
    host: Host
    limits: Limits
    recipes: Sequence[Recipe]
    rivals: CompetingBackends
    time_budget: float | None
    start: float
    tune: int | None = None
    notes: tuple[str, ...] = field(init=False)
    evidence: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._few = evidence_notes(self.task.metrics, len(self.task.evaluation), self.limits.max_drop)
        trains = self.task.training is not None
        self._known: Mapping[str, Any] = {
            "trains": trains,
            "prunable": _prunable(self.network),
            "providers": self.rivals.providers,
            "provable": not self._few,
            "tune": self.tune,
            "decodes": self.network.origin.format in GENERATIVE,
            "encodes": self.network.origin.format == ENCODER_DECODER,
        }
        self._budget = TimeBudget.of(
            self.time_budget, self.start, self.host, open_ended=trains or bool(self.recipes)
        )
        self.notes = (
            *judging_notes(self.task.metrics, self.task.kinds),
            *range_notes(self.target.input_shapes),
            *self._few,
            *self.rivals.notes,
        )

    def begin(self, run: RunDirectory, seconds: float, reporter: Reporter) -> None:
        """Check the leftovers of an interrupted run, and announce the number of builds and what is known of them.

        Args:
            run: Directory of the run.
            seconds: Time to measure each build at each batch size, in seconds.
            reporter: Receives the plan.
        """
        run.forget_without(ORIGINAL)
        KeptOutputs(run.outputs).forget_damaged()
        if run.damaged:
            reporter.note(_damaged_note(run.damaged))
        reporter.plan(self._most)
        for note in (*self.notes, self.extent(seconds)):
            reporter.note(note)

    def saw_original(self, original: Candidate, reporter: Reporter) -> None:
        """Set the time that is left, and tell whether the original's values say that the data can prove no build.

        Args:
            original: The original network, measured.
            reporter: Receives the note.
        """
        self._budget = self._budget.after_original(original.seconds)
        if self._few or original.profile is None:
            return
        values = np.array(original.profile.outcomes)
        self.evidence = evidence_of_original(values, self.task.metric, self.limits.max_drop)
        for note in self.evidence:
            reporter.note(note)

    def listed(self) -> tuple[Proposal, ...]:
        """Return everything that the run may try, in its order."""
        return tuple(proposals(self.target, self.limits, self.recipes, self.rivals.names, **self._known))

    def following(self, recipe: Recipe, run: RunDirectory) -> tuple[list[Recipe], list[Recipe]]:
        """Return the recipes after one that are tried in any case, and those that measurements may ask for.

        Args:
            recipe: The recipe that is tried now.
            run: Run with all measurements so far.
        """
        untried = [proposal for proposal in self.listed() if run.find(proposal.recipe) is None]
        certain = [proposal.recipe for proposal in untried if proposal.decide is None]
        possible = [proposal.recipe for proposal in untried if proposal.decide is not None]
        return [later for later in certain if later != recipe], possible

    @property
    def _most(self) -> int:
        """Largest number of builds."""
        return sum(proposal.most for proposal in self.listed())

    def extent(self, seconds: float) -> str:
        """Return a sentence on the number of builds and the time that each is timed for, in seconds."""
        return self._budget.plan(self._most, self.target, self.host, seconds)

    def proposals(self, run: RunDirectory) -> Iterator[Recipe]:
        """Yield the recipes to try; each may depend on the measurements of the run before it."""
        return propose(self.listed(), run)

    def is_over(self, following: Recipe) -> bool:
        """Whether the time budget is spent; :attr:`stopped` then names the recipes that are not tried.

        Args:
            following: The recipe that would be next.
        """
        if self._budget.over:
            self.stopped = (self._budget.stopped(following),)
            self.untried = _not_begun(following, [proposal.recipe.name for proposal in self.listed()])
        return bool(self.stopped)


def _not_begun(following: Recipe, listed: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the recipes from one on, in the order in which they would be tried."""
    begin = listed.index(following.name) + 1 if following.name in listed else len(listed)
    return (following.name, *listed[begin:])


def checked_recipes(recipes: Sequence[Recipe | str | Path]) -> list[Recipe]:
    """Read recipes, and check every technique and setting before any work is done.

    Args:
        recipes: Recipes, or paths of their TOML files.

    Raises:
        RecipeError: A recipe is wrong, or two have the same name. The original's own is no second one.
    """
    read = [recipe if isinstance(recipe, Recipe) else Recipe.from_file(Path(recipe)) for recipe in recipes]
    for recipe in read:
        for step in recipe.steps:
            load_technique(step)
    names = [ORIGINAL.name, *(recipe.name for recipe in read if recipe != ORIGINAL)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError("recipes with names of their own", f"'{twice}' twice", "rename one")
    return read


def _damaged_note(count: int) -> str:
    records = "a record" if count == 1 else f"{count} records"
    return f"{records} of the interrupted run had changed on disk: what they told of is measured again"


def _prunable(network: Network) -> bool:
    """Whether channels may be removed, and the network computes enough for that to make it faster."""
    if network.graph is None:
        return False
    shapes = {
        spec.name: [
            1 if spec.dynamic_batch and axis == spec.batch_axis else size
            for axis, size in enumerate(array.shape)
        ]
        for spec, array in zip(network.inputs, network.sample, strict=True)
    }
    return totals(layers(network.to_onnx(), shapes=shapes)).macs >= _LEAST_PRUNED_MACS
