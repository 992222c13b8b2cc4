"""A proposal: a recipe that a run may try, and the conditions that measurements put on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compress.recipe import Recipe
from compress.records.profile import inside_margin
from compress.search.decision import choose, lowest_ratio
from compress.search.limits import Limits, judged_latency

if TYPE_CHECKING:
    from compress.search.run_directory import Candidate, RunDirectory


@dataclass(frozen=True)
class Proposal:
    """A recipe that a run may try.

    Attributes:
        recipe: The recipe, as far as it is known before anything is measured; its name may stand for several.
        when: Condition under which it is tried, as a clause; None for a recipe that is tried in any case.
        decide: Function that returns the recipe, or None where it is not to be tried, by the measurements of a run.
            None for a recipe that is tried in any case.
        most: Number of recipes that it may come to: ``decide`` is asked again after each until it returns None.
    """

    recipe: Recipe
    when: str | None = None
    decide: Callable[[RunDirectory], Recipe | None] | None = None
    most: int = 1

    @classmethod
    def where(cls, recipe: Recipe, when: str, wanted: Callable[[RunDirectory], bool]) -> Proposal:
        """Propose a known recipe under a condition.

        Args:
            recipe: The recipe.
            when: The condition as a clause.
            wanted: Function that returns whether the measurements of a run meet it.
        """
        return cls(recipe, when, lambda run: recipe if wanted(run) else None)

    def due(self, run: RunDirectory) -> Recipe | None:
        """Return the recipe to try now; None where the measurements of the run speak against it."""
        recipe = self.recipe if self.decide is None else self.decide(run)
        return None if recipe is None else replace(recipe, origin=self.recipe.origin)


def decided_once(of: Callable[[RunDirectory], bool]) -> Callable[[RunDirectory], bool]:
    """Return a function that keeps its first answer: later measurements do not change it."""
    answers: list[bool] = []

    def answer(run: RunDirectory) -> bool:
        if not answers:
            answers.append(of(run))
        return answers[0]

    return answer


def is_made_of_matrices(run: RunDirectory) -> bool:
    """Whether matrix products outnumber convolutions and recurrence in what the runtime made of the original."""
    profile = run.candidates[0].profile if run.candidates else None
    return profile is not None and profile.coverage is not None and profile.coverage.is_made_of_matrices


def int8_gains(run: RunDirectory, limits: Limits) -> bool:
    """Whether int8 builds seem faster than the best build so far, or none has been timed yet.

    Other ranges and roundings of int8 run the same operators, and take the same time.
    """
    best = lowest_ratio(run.candidates, limits)
    int8 = [entry for entry in run.candidates if entry.recipe.kind == "int8"]
    profiles = [entry.profile for entry in int8 if entry.profile is not None]
    ratios = [judged_latency(profile, limits.objective).ratio for profile in profiles]
    return any(ratio is None or ratio < (1 if best is None else best) for ratio in ratios) or not int8


def keeps_accuracy(run: RunDirectory, limits: Limits, recipe: Recipe | None = None) -> bool:
    """Whether an int8 build, or this one, was measured inside the margin."""
    return any(
        (entry.recipe.kind == "int8" if recipe is None else entry.recipe == recipe)
        and entry.profile is not None
        and entry.profile.accuracy is not None
        and inside_margin(entry.profile.accuracy.drop, limits.max_drop)
        for entry in run.candidates
    )


def leaves_float(run: RunDirectory, recipe: Recipe) -> bool:
    """Whether the build of a recipe was measured, and its runtime computes some layers in float."""
    entry = run.find(recipe)
    coverage = None if entry is None or entry.profile is None else entry.profile.coverage
    return coverage is not None and coverage.leaves_float


def time_of(entry: Candidate, limits: Limits) -> float:
    """Return a build's time over fp32's where it decides; infinite where it was not timed, 1 without a ratio."""
    if entry.profile is None:
        return math.inf
    ratio = judged_latency(entry.profile, limits.objective).ratio
    return 1.0 if ratio is None else ratio


def best_time(run: RunDirectory, limits: Limits) -> float:
    """Return the time over fp32's of the build that would be shipped now."""
    best = choose(run.candidates, limits).candidate
    return 1.0 if best is None else time_of(best, limits)


def points(limits: Limits) -> str:
    """Return the accuracy drop that the user allows, in words."""
    return "1 point" if limits.max_drop == 1 else f"{limits.max_drop:g} points"
