"""The lines of ``compress optimize --dry-run``: what would be tried, in its order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.api.plan import PlannedBuild, PlanResult
    from compress.recipe import Step
    from compress.search.forecast import Seconds


def plan_lines(result: PlanResult) -> Iterator[str]:
    """Yield the lines that tell a plan: a block for each build, then the sums and the notes."""
    for number, build in enumerate(result.builds, start=1):
        yield f"{number:2}. {build.recipe.name} ({build.backend}): {_time(build)}"
        yield from (f"    {line}" for line in _details(build))
    yield ""
    numbers = [f"{number} {what}" for what, number in result.samples.items() if number]
    yield f"samples: {', '.join(numbers)}"
    yield result.extent
    yield f"estimate: {_interval(result.seconds)} in all{_unknown(result)}; nothing was measured or written"
    yield from map(_note, result.notes)


def _note(note: str) -> str:
    """Return a note under the one word that it goes by: a doubt about the network is a warning already."""
    return note if note.startswith("warning: ") else f"note: {note}"


def _details(build: PlannedBuild) -> Iterator[str]:
    if build.recipe.steps:
        yield "; ".join(map(_technique, build.recipe.steps))
    if build.needs:
        yield f"needs: {', '.join(build.needs)}"
    if build.when is not None:
        yield f"only {build.when}"


def _technique(step: Step) -> str:
    """Format a technique with the settings that its recipe sets."""
    settings = ", ".join(f"{key} {value}" for key, value in step.settings.items())
    return f"{step.technique} ({settings})" if settings else step.technique


def _time(build: PlannedBuild) -> str:
    if build.seconds is not None:
        return _interval(build.seconds)
    return "minutes" if build.minutes else "time unknown"


def _interval(seconds: Seconds) -> str:
    return f"{_short(seconds.low)} to {_short(seconds.high)}"


def _short(seconds: float) -> str:
    if seconds < 1:
        return "1 s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _unknown(result: PlanResult) -> str:
    number = sum(build.seconds is None for build in result.builds)
    return f", without the {number} whose time is not known in seconds" if number else ""
