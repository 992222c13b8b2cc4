"""Progress in the terminal while a run goes on, and one table at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from compress.cli.plain_rich import PlainTable
from compress.cli.stdout import kept_for_the_result
from compress.core.plain_text import plain
from compress.core.progress import Reporter
from compress.reports.figures import digits, size_text
from compress.reports.timings import aligned, at, condition_text

if TYPE_CHECKING:
    from compress.api.optimize import OptimizeResult
    from compress.recipe import Recipe
    from compress.records.profile import Accuracy, Drop, Latency
    from compress.search.run_directory import Candidate


#: Longer names of builds leave too little of 80 columns to the figures.
_NAME_WIDTH = 16

#: Where there is no terminal, a stage is told only so many seconds after the start: what ends sooner needs no progress,
#: and an input that is refused at once is told in one line.
_QUIET_SECONDS = 10


class TerminalReporter(Reporter):
    """Shows what is running and how long is left; a context manager, in which standard output is kept for the result.

    Where there is no terminal, as in a CI job, each candidate, and each stage of a run that takes longer than a few
    seconds, is one plain line with the time since the start.

    Args:
        console: Console that shows the progress.

    Attributes:
        shipped: Name of the recipe whose build is on disk as a complete bundle; None before there is one.
    """

    shipped: str | None = None

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stdout = ExitStack()
        self._begin = time.perf_counter()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar: TaskID = self._progress.add_task("starting", total=None, left="")
        self._planned = 0
        self._done = 0
        self._name = ""
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
        self._notes.append(text)

    def stage(self, text: str) -> None:
        """See :meth:`Reporter.stage`."""
        self._progress.update(self._bar, description=plain(text))
        if time.perf_counter() - self._begin > _QUIET_SECONDS:
            self._line(text)

    def begin(self, recipe: Recipe) -> None:
        """See :meth:`Reporter.begin`."""
        self._name, self._since = recipe.name, time.perf_counter()
        if self._console.is_terminal:
            self._tell_notes()

    def step(self, text: str, total: int = 0) -> None:
        """See :meth:`Reporter.step`."""
        self._progress.update(
            self._bar,
            description=plain(f"{self._name} ({self._done + 1} of at most {self._planned}): {text}"),
            total=total or None,
            completed=0,
            left=self._left(),
        )

    def tick(self, done: int) -> None:
        """See :meth:`Reporter.tick`."""
        self._progress.update(self._bar, completed=done, left=self._left())

    def end(self, candidate: Candidate, resumed: bool) -> None:
        """See :meth:`Reporter.end`."""
        self._done += 1
        if not resumed:
            self._spent.append(time.perf_counter() - self._since)
        self._tell_notes()
        told = candidate.rejected or _summary(candidate)
        note = " (measured before the interruption)" if resumed else ""
        if self._console.is_terminal:
            line = plain(f"  {candidate.recipe.name}: {told}{note}")
            self._console.print(line, highlight=False, markup=False)
        left = self._left()
        planned = f"{self._done} of at most {self._planned}"
        self._line(f"{candidate.recipe.name} ({planned}): {told}{note}{'; ' + left if left else ''}")

    def _tell_notes(self) -> None:
        """Print the notes once; without a terminal only beside a candidate, so that a refusal stays one line."""
        for text in self._notes:
            self._console.print(plain(f"  {text}"), highlight=False, markup=False, soft_wrap=True)
        self._notes.clear()

    def _line(self, text: str) -> None:
        """Print one plain line where there is no terminal to redraw."""
        if not self._console.is_terminal:
            since = _duration(time.perf_counter() - self._begin)
            self._console.print(plain(f"{since}  {text}"), highlight=False, markup=False, soft_wrap=True)

    def _left(self) -> str:
        if not self._spent:
            return ""
        each = sum(self._spent) / len(self._spent)
        current = min(time.perf_counter() - self._since, each)
        seconds = each * (self._planned - self._done) - current
        return f"at most {_duration(seconds)} left"


#: Characters of a line that a table may take.
_WIDEST = 1000


def plain_table(title: str | None = None) -> Table:
    """Return a table with a line below its headings and none around it; title and caption flush left."""
    return PlainTable(
        title=None if title is None else Text(plain(title)),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def width_of(console: Console, table: Table) -> int:
    """Return the characters of a line that a table takes where no cell is cut."""
    return Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum


def print_whole(console: Console, table: Table) -> None:
    """Print a table so wide that no cell is cut, since a cut figure would be wrong."""
    console.width = max(console.width, width_of(console, table))
    console.print(table)


def result_table(result: OptimizeResult) -> Table:
    """Return a table with a line for each candidate: accuracy, drop, latency at each batch size, size."""
    first = result.candidates[0].profile
    timed = first.latency if first is not None else ()
    estimated = first is not None and first.latency[0].source == "estimated"
    metric = first.accuracy.metric if first is not None and first.accuracy is not None else "accuracy"
    table = plain_table()
    table.add_column("build", no_wrap=True)
    table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("drop (≤)", justify="right", no_wrap=True)
    for each in timed:
        table.add_column(condition_text(each), justify="right", no_wrap=each.period_ms is None)
    table.add_column("size", justify="right", no_wrap=True)
    for candidate, compared in zip(result.candidates, aligned(result.candidates), strict=True):
        style = "bold green" if candidate is result.choice.candidate else ""
        table.add_row(*_cells(compared, timed), style=style)
    if first is not None and estimated:
        shown, interval = first.latency[0], first.latency[0].interval
        table.caption = (
            f"latency: ms ESTIMATED for {plain(result.target.name)} by a roofline, and over fp32's estimate; "
            f"{100 * interval.level:.0f} % of networks are expected within "
            f"{interval.low / shown.p50_ms:.2f}–{interval.high / shown.p50_ms:.2f}× of it"
        )
    else:
        table.caption = "latency: × the time of fp32, each in processes of its own; ms: that × fp32's median"
    return table


def verdict_lines(result: OptimizeResult) -> list[str]:
    """Return the reason against each build that is not shipped; empty where the choice's reason covers all."""
    chosen = result.choice.candidate
    if chosen is None or chosen is result.candidates[0]:
        return []
    return [f"{name}: {why}" for name, why in result.choice.verdicts.items() if name != chosen.recipe.name]


def warning_lines(result: OptimizeResult) -> list[str]:
    """Return a board's warnings on each build, such as layers that left the accelerator."""
    return [
        f"warning: {entry.recipe.name}: {warning}"
        for entry in result.candidates
        if entry.profile is not None and entry.profile.backend == "tensorrt"
        for warning in entry.profile.warnings
    ]


def accuracy_text(accuracy: Accuracy | None) -> str:
    """Format the mean with half the width of its interval."""
    if accuracy is None:
        return "–"
    half = (accuracy.interval.high - accuracy.interval.low) / 2
    if accuracy.in_percent:
        return f"{100 * accuracy.mean:.2f} ±{100 * half:.2f}%"
    return f"{accuracy.mean:.4g} ± {half:.2g}"


def drop_text(drop: Drop) -> str:
    """Format the accuracy drop and its interval."""
    low, high, level = drop.interval.low, drop.interval.high, round(100 * drop.interval.level)
    return f"drop: {drop.points:.2f} points, {low:.2f} to {high:.2f} ({level} % interval)"


def latency_text(latency: Latency) -> str:
    """Format the median in milliseconds; an estimate is marked and has its interval."""
    if latency.source == "estimated":
        low, high = digits(latency.interval.low), digits(latency.interval.high)
        return f"ESTIMATED {digits(latency.p50_ms)} ms ({low}–{high})"
    return f"{digits(latency.p50_ms)} ms"


def _cells(candidate: Candidate, timed: Sequence[Latency]) -> list[str | Text]:
    profile = candidate.profile
    text = plain(candidate.recipe.name)
    if len(text) > _NAME_WIDTH and candidate.recipe.backend:
        text = text.replace(f"-{candidate.recipe.backend}", f"-\n{candidate.recipe.backend}")
    name = Text(text)
    if profile is None:
        return [name, *["–"] * (3 + len(timed))]
    drop = profile.accuracy.drop if profile.accuracy else None
    return [
        name,
        accuracy_text(profile.accuracy),
        "–" if drop is None else f"{drop.points:.2f} ({drop.interval.high:.2f})",
        *(_latency_cell(at(profile, like)) for like in timed),
        size_text(profile.artifact_bytes),
    ]


def _latency_cell(latency: Latency | None) -> str:
    if latency is None:
        return "–"
    mark = "≈" if latency.source == "estimated" else ""
    ratio = "" if latency.ratio is None else f" {_ratio_text(latency.ratio)}×"
    return f"{mark}{digits(latency.p50_ms)}{ratio:6}"


def _ratio_text(ratio: float) -> str:
    """Format a ratio with two decimals, and fewer where it is so large that they mean nothing."""
    return f"{ratio:.2f}" if ratio < 9.995 else digits(ratio)


def _summary(candidate: Candidate) -> str:
    profile = candidate.profile
    if profile is None:
        return ""
    latency = profile.latency[0]
    ratio = "" if latency.ratio is None else f", {latency.ratio:.2f}× fp32"
    return f"{accuracy_text(profile.accuracy)}, {latency_text(latency)} at batch {latency.batch}{ratio}"


def _duration(seconds: float) -> str:
    seconds = max(0, round(seconds))
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
