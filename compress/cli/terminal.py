"""Progress in the terminal while a run goes on."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from compress.cli.figure_text import accuracy_text, latency_text
from compress.cli.loudness import Loudness, loudness
from compress.cli.stdout import kept_for_the_result
from compress.core.plain_text import plain
from compress.core.progress import Reporter
from compress.reports.figures import digits

if TYPE_CHECKING:
    from compress.recipe import Recipe
    from compress.search.run_directory import Candidate


#: Where there is no terminal, a stage is told only so many seconds after the start: what ends sooner needs no progress,
#: and an input that is refused at once is told in one line. A step of a candidate is told where nothing was told for as
#: long.
_QUIET_SECONDS = 10

#: Fewest columns of a terminal in which a bar stands beside the text; in fewer, it would wrap the candidate's name.
_BAR_COLUMNS = 100


class TerminalReporter(Reporter):
    """Shows what is running and how long is left; a context manager, in which standard output is kept for the result.

    Where there is no terminal, as in a CI job, each candidate is one plain line with the time since the start, and so
    is each stage of a run that takes longer than a few seconds; while a candidate takes long, its steps are told too.

    Args:
        console: Console that shows the progress.

    Attributes:
        shipped: Name of the recipe whose build is on disk as a complete bundle; None before there is one.
    """

    shipped: str | None = None

    def __init__(self, console: Console) -> None:
        self._console = console
        self._loudness = loudness()
        self._stdout = ExitStack()
        self._begin = time.perf_counter()
        bar = BarColumn(bar_width=min(24, console.width // 6), table_column=Column(no_wrap=True))
        # The time since the start comes first, as in the plain lines: behind "left" it reads as the time that is left.
        self._progress = Progress(
            SpinnerColumn(),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            *([bar] if console.width >= _BAR_COLUMNS else []),
            TextColumn("{task.fields[left]}", table_column=Column(overflow="fold")),
            console=console,
            transient=True,
            disable=not console.is_terminal or self._loudness is Loudness.QUIET,
        )
        self._bar: TaskID = self._progress.add_task("starting", total=None, left="")
        self._planned = 0
        self._done = 0
        self._name, self._step, self._units = "", "", 0
        self._told_at = self._begin
        self._notes: list[str] = []
        self._spent: list[float] = []
        self._since = time.perf_counter()

    def __enter__(self) -> Self:
        self._stdout.enter_context(kept_for_the_result())
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # what is refused stays one line
            self._tell_notes()
        self._progress.stop()
        self._stdout.close()

    def plan(self, candidates: int) -> None:
        """See :meth:`Reporter.plan`."""
        self._planned = candidates

    def ship(self, name: str) -> None:
        """See :meth:`Reporter.ship`."""
        self.shipped = name

    def note(self, text: str) -> None:
        """See :meth:`Reporter.note`."""
        if self._loudness is not Loudness.QUIET or text.startswith("warning:"):
            self._notes.append(text)

    def stage(self, text: str) -> None:
        """See :meth:`Reporter.stage`."""
        self._progress.update(self._bar, description=plain(text))
        if self._loudness is Loudness.VERBOSE or time.perf_counter() - self._begin > _QUIET_SECONDS:
            self._line(text)

    def begin(self, recipe: Recipe) -> None:
        """See :meth:`Reporter.begin`."""
        self._name, self._since = recipe.name, time.perf_counter()
        if self._console.is_terminal:
            self._tell_notes()

    def step(self, text: str, total: int = 0) -> None:
        """See :meth:`Reporter.step`."""
        self._step, self._units = text, total
        if self._loudness is Loudness.VERBOSE:
            self._line(self._running())
        self._progress.update(
            self._bar, description=plain(self._running()), total=total or None, completed=0, left=self._left()
        )
        self._tell_running(self._running())

    def tick(self, done: int) -> None:
        """See :meth:`Reporter.tick`."""
        running = f"{self._running()}, {done} of {self._units}" if self._units else self._running()
        self._progress.update(self._bar, description=plain(running), completed=done, left=self._left())
        self._tell_running(running)

    def end(self, candidate: Candidate, resumed: bool) -> None:
        """See :meth:`Reporter.end`."""
        self._done += 1
        if not resumed:
            self._spent.append(time.perf_counter() - self._since)
        self._tell_notes()
        outcome = candidate.rejected or _summary(candidate)
        note = " (measured before the interruption)" if resumed else ""
        if self._console.is_terminal and self._loudness is not Loudness.QUIET:
            line = plain(f"  {candidate.recipe.name}: {outcome}{note}")
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
            return
        time_left = self._left()
        planned = f"{self._done} of at most {self._planned}"
        self._line(
            f"{candidate.recipe.name} ({planned}): {outcome}{note}{'; ' + time_left if time_left else ''}"
        )

    def _running(self) -> str:
        """Return the candidate, its place among those that are planned, and its step; the step alone without a plan."""
        if not self._planned:
            return self._step
        return f"{self._name} ({self._done + 1} of at most {self._planned}): {self._step}"

    def _tell_running(self, running: str) -> None:
        """Print what is running where there is no terminal and nothing was printed for some time."""
        if time.perf_counter() - self._told_at > _QUIET_SECONDS:
            time_left = self._left()
            self._tell_notes()
            self._line(f"{running}{'; ' + time_left if time_left else ''}")

    def _tell_notes(self) -> None:
        """Print the notes once; without a terminal only beside a candidate, so that a refusal stays one line."""
        for text in self._notes:
            self._console.print(plain(f"  {text}"), highlight=False, markup=False, soft_wrap=True)
        self._notes.clear()

    def _line(self, text: str) -> None:
        """Print one plain line where there is no terminal to redraw, or every stage was asked for."""
        if self._loudness is Loudness.QUIET:
            return
        if not self._console.is_terminal or self._loudness is Loudness.VERBOSE:
            self._told_at = time.perf_counter()
            since = _duration(self._told_at - self._begin)
            self._console.print(plain(f"{since}  {text}"), highlight=False, markup=False, soft_wrap=True)

    def _left(self) -> str:
        if not self._spent:
            return ""
        mean_s = sum(self._spent) / len(self._spent)
        current = min(time.perf_counter() - self._since, mean_s)
        seconds = mean_s * (self._planned - self._done) - current
        return f"at most {_duration(seconds)} left"


def _summary(candidate: Candidate) -> str:
    profile = candidate.profile
    if profile is None:
        return ""
    latency = profile.latency[0]
    time_told = f"{latency_text(latency)} at batch {latency.batch}"
    if latency.ratio is not None:
        estimated = "ESTIMATED " if latency.source == "estimated" else ""
        # The time of fp32 in the same turns: at another moment this machine was faster or slower.
        turns = (
            "" if latency.reference_ms is None else f" of {digits(latency.reference_ms)} ms in turns with it"
        )
        time_told = f"{estimated}{latency.ratio:.2f}× fp32's time{turns} at batch {latency.batch}"
    return f"{accuracy_text(profile.accuracy)}, {time_told}"


def _duration(seconds: float) -> str:
    seconds = max(0, round(seconds))
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
