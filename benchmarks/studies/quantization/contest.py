"""Builds of one network measured against fp32 in ONNX Runtime: accuracy paired by sample, time in rounds of pairs.

Each round has sessions of its own, as ``compress.optimize`` and the gate have them: one pair of sessions is a few
percent faster or slower for as long as it lives, and two builds that were compared with fp32 in one pair each came out
in another order than in pairs of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.studies.quantization.rivals import Build, Case
from compress.backends import load_backend
from compress.backends.base import Artifact, Session
from compress.backends.onnxruntime import OnnxRuntime
from compress.data.task import Task
from compress.errors import CompressError
from compress.hosts.local import LocalHost
from compress.metrics.outcomes import Outcomes
from compress.onnx_graph.files import sha256_of, size_of
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.profiling.latency import Budget, sample_feeds
from compress.records.profile import Accuracy, Interval, Latency, inside_margin
from compress.target.target import load_target
from compress.timing.contest import times_against
from compress.timing.processes import stored_feeds
from compress.timing.solo import time_alone

BATCHES = (1, 32)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        build: Who made it.
        threads: Threads of the runtime.
        settings: Settings that were chosen, in words.
        error: Why nothing was measured; None where it was.
        inside: Whether the drop's upper bound is inside the margin.
        accuracy: On the evaluation data, with the drop against fp32.
        bytes: Size of the build's files, in bytes.
        latency: At each batch size, with its ratio to fp32.
        found: Cost of making it.
        tried: For each setting that was tried, what came of it.
        artifact: Artifact that was measured, as it can be opened again in this run; not in the JSON.
    """

    build: str
    threads: int
    settings: str = ""
    error: str | None = None
    inside: bool = False
    accuracy: Accuracy | None = None
    bytes: int | None = None
    latency: tuple[Latency, ...] = ()
    found: dict[str, Any] = field(default_factory=dict)
    tried: tuple[dict[str, Any], ...] = ()
    artifact: Artifact | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(replace(self, artifact=None))


@dataclass(frozen=True)
class Look:
    """A setting that was tried.

    Attributes:
        row: Without latencies yet.
        ratio: To fp32 at the batch size that decides, from a short measurement; None where there was no choice.
    """

    row: Row
    ratio: float | None = None

    def rank(self) -> tuple[bool, float]:
        """Lower is better: inside the margin by time, outside it by the drop's upper bound."""
        drop = self.row.accuracy.drop if self.row.accuracy else None
        outside = 0.0 if drop is None else drop.interval.high
        return not self.row.inside, (self.ratio or 1.0) if self.row.inside else outside

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        row = self.row
        drop = row.accuracy.drop if row.accuracy else None
        return {
            "settings": row.settings,
            "error": row.error,
            "inside": row.inside,
            "drop": None if drop is None else asdict(drop),
            "bytes": row.bytes,
            "ratio": self.ratio,
            **{key: row.found[key] for key in ("seconds", "peak_mib", "above_mib") if key in row.found},
        }


class Judge:
    """Accuracy of the builds of one network, each measured once however many threads it is timed with.

    Args:
        task: Bound to the network.
        max_drop: The margin, in points.
    """

    def __init__(self, task: Task, max_drop: float) -> None:
        self.task, self._max_drop = task, max_drop
        self._original: tuple[Outcomes, ...] | None = None
        self._known: dict[tuple[Any, ...], Accuracy] = {}

    def accuracy(self, artifact: Artifact, session: Session, reference: Session) -> Accuracy:
        """Return the accuracy of a build, with its drop against the reference, which is fp32 in every call."""
        key = (artifact.sha256, artifact.backend, artifact.options.get("precision"))
        if key not in self._known:
            original = self._outcomes(reference)
            found = outcomes_of(session, self.task, reference)
            sha256 = self.task.evaluation.sha256
            self._known[key] = accuracy_of(found, original, sha256)
        return self._known[key]

    def original(self, reference: Session) -> Accuracy:
        """Return the accuracy of fp32 itself."""
        sha256 = self.task.evaluation.sha256
        return accuracy_of(self._outcomes(reference), None, sha256)

    def inside(self, accuracy: Accuracy) -> bool:
        """Whether the drop's upper bound is inside the margin."""
        return inside_margin(accuracy.drop, self._max_drop)

    def _outcomes(self, reference: Session) -> tuple[Outcomes, ...]:
        if self._original is None:
            self._original = outcomes_of(reference, self.task)
        return self._original


class Contest:
    """A context manager that holds the open fp32 session of one network.

    Args:
        case: The network.
        judge: Judge of its builds' accuracy.
        budget: Budget of timing each build at each batch size.
        decisive: The batch size that a rival's settings are chosen at.
        batches: Batch sizes that builds are timed at.
    """

    def __init__(
        self,
        case: Case,
        judge: Judge,
        budget: Budget,
        decisive: int = BATCHES[0],
        batches: Sequence[int] = BATCHES,
    ) -> None:
        self._backend = OnnxRuntime()
        self._judge, self._budget, self._decisive = judge, budget, decisive
        self._batches = batches
        self._short = replace(budget, seconds=budget.seconds / 4, warm_up_seconds=budget.warm_up_seconds / 2)
        options = {"intra_op_threads": case.threads}
        plain = Artifact(case.fp32, sha256_of(case.fp32), size_of(case.fp32), "onnxruntime", options)
        plain = LocalHost(self._backend).tune(plain, case.task, load_target("cpu"), case.threads).artifact
        self._plain = plain
        self.case = replace(case, options=plain.options)
        self._session: Session = self._backend.open(plain)

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def fp32(self) -> Row:
        """The row that every other one refers to."""
        feeds = {batch: sample_feeds(self._session, self.case.task, batch) for batch in self._batches}
        with stored_feeds(feeds) as paths:
            latencies, _ = time_alone(self._plain, feeds, paths, self._budget)
        return Row(
            build="fp32, ONNX Runtime",
            threads=self.case.threads,
            settings="spinning" if self._plain.options.get("spinning") else "",
            inside=True,
            accuracy=self._judge.original(self._session),
            bytes=self._plain.size_bytes,
            latency=latencies,
            artifact=self._plain,
        )

    def row(self, name: str, builds: Sequence[Build]) -> Row:
        """The fastest of these inside the margin; where none is, the one whose drop is bounded lowest."""
        looks = [self._look(name, build, choice=len(builds) > 1) for build in builds]
        tried = tuple(look.to_dict() for look in looks)
        measured = [look for look in looks if look.row.error is None]
        if not measured:
            errors = "; ".join(f"{look.row.settings}: {look.row.error}" for look in looks)
            return Row(name, self.case.threads, error=errors, tried=tried)
        chosen = min(measured, key=Look.rank).row
        try:
            return replace(chosen, latency=self._latencies(chosen), tried=tried)
        except CompressError as error:
            return replace(chosen, error=str(error), tried=tried)

    def between(self, first: Row, second: Row, batch: int) -> tuple[float, Interval]:
        """The first build's time over the second's, from rounds of their own."""
        return _ratio(self._compared(_artifact(first), _artifact(second), [batch], self._budget)[batch])

    def _look(self, name: str, build: Build, *, choice: bool) -> Look:
        """A build's accuracy and, where there is a choice, a short look at its time."""
        row = Row(name, self.case.threads, build.settings, build.error, found=dict(build.found))
        if build.error is not None:
            return Look(row)
        try:
            artifact = build.artifact(self.case)
            with load_backend(artifact.backend).open(artifact) as session:
                accuracy = self._judge.accuracy(artifact, session, self._session)
            ratio = None
            if choice:
                at = self._decisive
                ratio, _ = _ratio(self._compared(artifact, self._plain, [at], self._short)[at])
        except (CompressError, OSError) as error:
            return Look(replace(row, error=str(error)))
        inside, size = self._judge.inside(accuracy), artifact.size_bytes
        return Look(replace(row, inside=inside, accuracy=accuracy, bytes=size, artifact=artifact), ratio)

    def _latencies(self, row: Row) -> tuple[Latency, ...]:
        return tuple(self._compared(_artifact(row), self._plain, self._batches, self._budget).values())

    def _compared(
        self, build: Artifact, other: Artifact, batches: Sequence[int], budget: Budget
    ) -> dict[int, Latency]:
        feeds = {batch: sample_feeds(self._session, self.case.task, batch) for batch in batches}
        return times_against(build, other, feeds, budget)


def _ratio(latency: Latency) -> tuple[float, Interval]:
    if latency.ratio is None or latency.ratio_interval is None:
        raise ValueError("a latency that was compared with nothing")
    return latency.ratio, latency.ratio_interval


def _artifact(row: Row) -> Artifact:
    if row.artifact is None:
        raise ValueError(f"a row without a build: {row.error}")
    return row.artifact
