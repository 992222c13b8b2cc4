"""The reporter that receives a run's progress; this base class shows nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.recipe import Recipe
    from compress.search.run_directory import Candidate


class Reporter:
    """Receives a run's progress; subclass it to show it."""

    def plan(self, candidates: int) -> None:
        """Receive the number of candidates that will be tried at the most."""

    def note(self, text: str) -> None:
        """Something that a person should know before the first candidate is done: how outputs are judged."""

    def stage(self, text: str) -> None:
        """Something that belongs to no candidate has begun: loading, exporting."""

    def begin(self, recipe: Recipe) -> None:
        """A candidate has begun."""

    def step(self, text: str, total: int = 0) -> None:
        """A step of the candidate has begun; ``total`` units of work where they can be counted."""

    def tick(self, done: int) -> None:
        """A number of units of the step are done."""

    def ship(self, name: str) -> None:
        """The best build so far is on disk as a complete bundle: the one of this recipe."""

    def end(self, candidate: Candidate, resumed: bool) -> None:
        """A candidate was recorded, now or by an earlier run that was interrupted."""
