"""The plan of a run: the recipes it will try, announced before the first build, and when it stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compress.core.progress import Reporter
from compress.data.task import Task
from compress.errors import RecipeError
from compress.hosts.base import Host
from compress.metrics.selection import judging_notes
from compress.network.network import Network
from compress.onnx_graph.layers import layers, totals
from compress.profiling.accuracy import evidence_notes
from compress.profiling.kept_outputs import KeptOutputs
from compress.recipe import Recipe
from compress.search.backends import CompetingBackends
from compress.search.decision import Limits
from compress.search.proposals import ORIGINAL, most_candidates, propose
from compress.search.run_directory import RunDirectory
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
        run: Run with all measurements so far.
        time_budget: Seconds after which no further build is begun; None for the default.
        start: When the run began, on :func:`time.perf_counter`'s clock.
        notes: Notes for the user before the first build, one line each.
        stopped: Reasons why the search ended early, one line each; empty where all recipes were tried.
    """

    network: Network
    task: Task
    target: Target
    host: Host
    limits: Limits
    recipes: Sequence[Recipe]
    rivals: CompetingBackends
    run: RunDirectory
    time_budget: float | None
    start: float
    notes: tuple[str, ...] = field(init=False)
    stopped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._few = evidence_notes(self.task.metrics, len(self.task.evaluation), self.limits.max_drop)
        self._prunable = _prunable(self.network)
        self._trains = self.task.training is not None
        self._budget = TimeBudget.of(
            self.time_budget, self.start, self.host, open_ended=self._trains or bool(self.recipes)
        )
        self.notes = (
            *judging_notes(self.task.metrics, self.task.kinds),
            *range_notes(self.target.input_shapes),
            *self._few,
            *self.rivals.notes,
        )

    def begin(self, seconds: float, reporter: Reporter) -> None:
        """Check the leftovers of an interrupted run, and announce the number of builds and what is known of them.

        Args:
            seconds: Time to measure each build at each batch size, in seconds.
            reporter: Receives the plan.
        """
        self.run.forget_without(ORIGINAL)
        KeptOutputs(self.run.outputs).forget_damaged()
        if self.run.damaged:
            reporter.note(_damaged_note(self.run.damaged))
        most = most_candidates(
            self.target,
            self.recipes,
            self.rivals.names,
            trains=self._trains,
            prunable=self._prunable,
            providers=self.rivals.providers,
        )
        reporter.plan(most)
        for note in (*self.notes, self._budget.plan(most, self.target, self.host, seconds)):
            reporter.note(note)

    def proposals(self) -> Iterator[Recipe]:
        """Yield the recipes to try; each may depend on the measurements before it."""
        return propose(
            self.target,
            self.limits,
            self.run,
            self.recipes,
            self.rivals.names,
            trains=self._trains,
            prunable=self._prunable,
            providers=self.rivals.providers,
            provable=not self._few,
        )

    def is_over(self, following: Recipe) -> bool:
        """Whether the time budget is spent; :attr:`stopped` then names the recipes that are not tried.

        Args:
            following: The recipe that would be next.
        """
        if self._budget.over:
            self.stopped = (self._budget.stopped(following),)
        return bool(self.stopped)


def checked_recipes(recipes: Sequence[Recipe | str | Path]) -> list[Recipe]:
    """Read recipes, and check every technique and setting before any work is done.

    Args:
        recipes: Recipes, or paths of their TOML files.

    Raises:
        RecipeError: A recipe is wrong, or two have the same name.
    """
    read = [recipe if isinstance(recipe, Recipe) else Recipe.from_file(Path(recipe)) for recipe in recipes]
    for recipe in read:
        for step in recipe.steps:
            load_technique(step)
    names = [ORIGINAL.name, *(recipe.name for recipe in read)]
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
