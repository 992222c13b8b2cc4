"""Where the two builds of a gate run, and what can be measured of them there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.gate.latency import take_round

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compress.backends.base import Session
    from compress.gate.subject import Subject
    from compress.record import Latency
    from compress.task import Task

Times = np.ndarray[Any, np.dtype[np.float64]]

#: The extremes of two builds that are alike lie apart in one gate of 20 with three runs each, in one of 252 with five.
_MEMORY_RUNS, ENERGY_RUNS = 3, 5
#: Of a round, for both sessions together.
_WARM_UP_S = 0.2


@dataclass(frozen=True)
class Round:
    """Both builds timed in turns.

    Attributes:
        times_ms: ``(n,)`` of the candidate's calls, milliseconds.
        baseline_ms: ``(m,)`` of the baseline's.
        log_ratio: What the round says as one observation: the median of ln(candidate / baseline).
    """

    times_ms: Times
    baseline_ms: Times
    log_ratio: float


class Place(ABC):
    """A machine that runs the builds of a gate."""

    @abstractmethod
    def runs_like(self, candidate: Subject, baseline: Subject) -> tuple[Subject, Subject]:
        """Both with the back end and the session options that they run with here."""

    @abstractmethod
    def open(self, subject: Subject) -> Session:
        """A session over a build."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What identifies the machine."""

    @abstractmethod
    def round(
        self, candidate: Subject, baseline: Subject, task: Task | None, number: int, pinned: bool = True
    ) -> Round:
        """Time both in turns, on sessions or engines as little shared with other rounds as the place allows.

        Args:
            candidate: One side.
            baseline: The other.
            task: Real samples to feed; None feeds seeded noise.
            number: Of the round, from 0; decides which side comes first.
            pinned: Whether threads are bound to processors, where they can be.
        """

    @abstractmethod
    def latency(
        self, subject: Subject, session: Session, feeds: Mapping[str, Any], batch: int, task: Task | None
    ) -> Latency | None:
        """Of one build alone; None where that batch size is not timed here."""

    @abstractmethod
    def peaks_mb(self, subject: Subject) -> list[float]:
        """Peak memory of several runs, MiB; none where it is not told."""

    @abstractmethod
    def energies_mj(
        self, candidate: Subject, baseline: Subject, sessions: tuple[Session, Session], task: Task | None
    ) -> tuple[list[float], list[float]] | None:
        """Millijoules of a call, of several runs of both in turns; None where nothing tells."""

    @abstractmethod
    def coverage(self, subject: Subject) -> dict[str, Any] | None:
        """As :attr:`compress.record.Profile.coverage`."""

    def doubts(self) -> tuple[str, ...]:
        """What makes the figures taken so far doubtful, a sentence each."""
        return ()


class Here(Place):
    """This machine, in this process."""

    def runs_like(self, candidate: Subject, baseline: Subject) -> tuple[Subject, Subject]:
        """See :meth:`Place.runs_like`: an ONNX file, which says nothing itself, runs as the other side does."""
        known = candidate.profile or baseline.profile
        if known is not None:
            backend, options = known.backend, known.options
        else:
            from compress.backends import load_backend
            from compress.target import load_target

            backend = "onnxruntime"
            options = load_backend(backend).default_options(load_target("cpu"))
        return (
            candidate if candidate.options is not None else candidate.run_like(backend, options),
            baseline if baseline.options is not None else baseline.run_like(backend, options),
        )

    def open(self, subject: Subject) -> Session:
        """See :meth:`Place.open`."""
        return subject.open()

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Place.fingerprint`."""
        from compress.hosts.machine import fingerprint

        return dict(fingerprint())

    def round(
        self, candidate: Subject, baseline: Subject, task: Task | None, number: int, pinned: bool = True
    ) -> Round:
        """See :meth:`Place.round`: interleaved pairs of calls of sessions of their own."""
        from compress.profiling.latency import Budget, Pairs, sample_feeds
        from compress.profiling.pinning import bound

        # What is opened first finds the better memory, or the worse.
        sides = (candidate, baseline) if number % 2 else (baseline, candidate)
        with ExitStack() as stack:
            first, second = (stack.enter_context(side.open(pinned)) for side in sides)
            ours, theirs = (first, second) if number % 2 else (second, first)
            pairs = Pairs(ours, theirs, sample_feeds(ours, task), Budget(warm_up_seconds=_WARM_UP_S))
            # After the warm-up: threads that a runtime starts at its first call are not to inherit it.
            if pinned:
                stack.enter_context(bound())
            take_round(pairs.take)
        times, log_ratios = np.array(pairs.times_ms), np.array(pairs.log_ratios)
        return Round(times, times / np.exp(log_ratios), float(np.median(log_ratios)))

    def latency(
        self, subject: Subject, session: Session, feeds: Mapping[str, Any], batch: int, task: Task | None
    ) -> Latency:
        """See :meth:`Place.latency`."""
        from compress.profiling.latency import measure_latency

        return measure_latency(session, dict(feeds), batch)

    def peaks_mb(self, subject: Subject) -> list[float]:
        """See :meth:`Place.peaks_mb`: each run in a process of its own."""
        from compress.profiling.memory import peak_memory_mb

        if subject.artifact is None:
            return []
        peaks = (peak_memory_mb(subject.artifact, 1) for _ in range(_MEMORY_RUNS))
        return [peak for peak in peaks if peak is not None]

    def energies_mj(
        self, candidate: Subject, baseline: Subject, sessions: tuple[Session, Session], task: Task | None
    ) -> tuple[list[float], list[float]] | None:
        """See :meth:`Place.energies_mj`: by the own counter of the processor or GPU that runs it."""
        from compress.profiling.energy import counters, energy_mj
        from compress.profiling.latency import sample_feeds, timer
        from compress.profiling.steady_state import warm_up

        counted = [counters((side.options or {}).get("provider")) for side in (candidate, baseline)]
        feeds = sample_feeds(sessions[0], task)
        calls = [session.prepared(feeds) for session in sessions]
        for call in calls:
            warm_up(timer(call), _WARM_UP_S)
        figures: tuple[list[float], list[float]] = ([], [])
        for _ in range(ENERGY_RUNS):
            for call, found, own in zip(calls, figures, counted, strict=True):
                energy = energy_mj(call, counted=own)
                if energy is None:
                    return None
                found.append(energy)
        return figures

    def coverage(self, subject: Subject) -> dict[str, Any] | None:
        """See :meth:`Place.coverage`: as recorded, else from what the runtime makes of the file."""
        from compress.backends import load_backend

        if subject.profile is not None:
            return subject.profile.coverage
        if subject.artifact is None:
            return None
        return load_backend(subject.artifact.backend).coverage(subject.artifact)
