"""The place where the two builds of a gate run, and its measurements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.bundle.bundle import shapes_of_sample
from compress.errors import BundleError

if TYPE_CHECKING:
    from compress.backends.base import Artifact, Session
    from compress.data.task import Task
    from compress.gate.subject import Subject
    from compress.profiling.latency import GivenShapes
    from compress.records.coverage import Coverage
    from compress.records.profile import Latency

Times = np.ndarray[Any, np.dtype[np.float64]]

#: The extremes of two builds that are alike lie apart in one gate of 20 with three runs each, in one of 252 with five.
_MEMORY_RUNS, ENERGY_RUNS = 3, 5
#: Seconds of calls before the energy of a build is counted.
_WARM_UP_S = 0.2
#: Seconds of turns of a round, at each batch size.
_ROUND_S = 0.25


@dataclass(frozen=True)
class Round:
    """One round: both builds started anew and timed in turns.

    Attributes:
        log_ratios: The round's observation by batch size: median of ln(candidate / baseline).
        times_ms: Times of the candidate's calls at the first batch size, ``(n,)``, in milliseconds.
        baseline_ms: Times of the baseline's calls, ``(m,)``, in milliseconds.
    """

    log_ratios: Mapping[int, float]
    times_ms: Times
    baseline_ms: Times


class Place(ABC):
    """A machine that runs the builds of a gate."""

    @abstractmethod
    def runs_like(self, candidate: Subject, baseline: Subject) -> tuple[Subject, Subject]:
        """Return both subjects with the back end and the session options that they run with here."""

    @abstractmethod
    def open(self, subject: Subject) -> Session:
        """Open a session over a build."""

    def try_out(self, subject: Subject, session: Session, task: Task, states: Mapping[str, str]) -> None:
        """Run a build for the first time, so that a crash of its runtime takes nothing with it.

        Args:
            subject: The build.
            session: The opened build.
            task: The data, not bound to it yet.
            states: The output that is the next value of each input that is carried from call to call; empty for none.

        Raises:
            NetworkError: The build does not run.
        """
        return

    def batch_sizes(self, candidate: Subject, baseline: Subject, session: Session) -> Sequence[int]:
        """Return the batch sizes that builds are timed at here, at least one."""
        return ()

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Return the fingerprint of the machine."""

    @abstractmethod
    def round(self, candidate: Subject, baseline: Subject, task: Task | None, number: int) -> Round:
        """Time both in turns, as independently of other rounds as the place allows.

        Args:
            candidate: The candidate's subject.
            baseline: The baseline's subject.
            task: Real samples to feed; None feeds seeded noise.
            number: The round's number, from 0; decides which side comes first.
        """

    @abstractmethod
    def latency(self, subject: Subject, session: Session, batch: int, task: Task | None) -> Latency | None:
        """Measure the latency of one build alone; None where that batch size is not timed here."""

    @abstractmethod
    def peaks_mb(self, subject: Subject, session: Session, task: Task | None) -> list[float]:
        """Return the peak memory of several runs in MiB; empty where it is unknown."""

    @abstractmethod
    def energies_mj(
        self, candidate: Subject, baseline: Subject, session: Session, task: Task | None
    ) -> tuple[list[float], list[float]] | None:
        """Return the energy of a call in millijoules for several runs of both in turns; None where it is unknown."""

    @abstractmethod
    def coverage(self, subject: Subject) -> Coverage | None:
        """Return the coverage of a build; None where its runtime does not tell it."""

    def doubts(self) -> tuple[str, ...]:
        """Return reasons to doubt the figures taken so far, a sentence each."""
        return ()


class Here(Place):
    """This machine: accuracy in this process, everything else in processes of their own.

    Args:
        stack: Exit stack that keeps sessions open until the gate ends.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._stored: dict[int, Path] | None = None

    def runs_like(self, candidate: Subject, baseline: Subject) -> tuple[Subject, Subject]:
        """See :meth:`Place.runs_like`: an ONNX file, which says nothing itself, runs as the other side does.

        Two ONNX files run as ONNX Runtime opens them by default.
        """
        profile = candidate.profile or baseline.profile
        backend, options = ("onnxruntime", {}) if profile is None else (profile.backend, profile.options)
        return (
            candidate if candidate.options is not None else candidate.run_like(backend, options),
            baseline if baseline.options is not None else baseline.run_like(backend, options),
        )

    def open(self, subject: Subject) -> Session:
        """See :meth:`Place.open`: first in another process; here, where several are open, threads do not spin."""
        from compress.backends.first_opening import open_elsewhere

        open_elsewhere(artifact_of(subject))
        return subject.open(spinning=False)

    def try_out(self, subject: Subject, session: Session, task: Task, states: Mapping[str, str]) -> None:
        """See :meth:`Place.try_out`: in another process."""
        from compress.profiling.outputs import try_elsewhere

        try_elsewhere(artifact_of(subject), session, task, states)

    def batch_sizes(self, candidate: Subject, baseline: Subject, session: Session) -> Sequence[int]:
        """See :meth:`Place.batch_sizes`."""
        return _batch_sizes(session, candidate, baseline)

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Place.fingerprint`."""
        from compress.machine.machine import fingerprint

        return dict(fingerprint())

    def round(self, candidate: Subject, baseline: Subject, task: Task | None, number: int) -> Round:
        """See :meth:`Place.round`: in turns, in processes of their own."""
        from compress.timing.processes import workers
        from compress.timing.turns import take_turns

        ours = number % 2
        sides = [candidate, baseline] if ours == 0 else [baseline, candidate]
        feeds = self._feeds(candidate, baseline, task)
        with workers([artifact_of(side) for side in sides], feeds) as opened:
            turns = {batch: take_turns(opened, batch, _ROUND_S) for batch in feeds}
        first = next(iter(turns.values()))
        return Round(
            {batch: turn.log_ratio(ours, 1 - ours) for batch, turn in turns.items()},
            first.calls_ms[ours],
            first.calls_ms[1 - ours],
        )

    def latency(self, subject: Subject, session: Session, batch: int, task: Task | None) -> Latency:
        """See :meth:`Place.latency`."""
        from compress.profiling.latency import Budget, sample_feeds
        from compress.timing.processes import stored_feeds
        from compress.timing.solo import time_alone

        feeds = {batch: sample_feeds(session, task, batch, _noise_shapes(task, subject))}
        with stored_feeds(feeds) as paths:
            ((figure,), _) = time_alone(artifact_of(subject), feeds, paths, Budget())
        return figure

    def peaks_mb(self, subject: Subject, session: Session, task: Task | None) -> list[float]:
        """See :meth:`Place.peaks_mb`: each run in a process of its own."""
        from compress.profiling.latency import sample_feeds
        from compress.timing.processes import peak_memory_mb, stored_feeds

        if subject.artifact is None:
            return []
        with stored_feeds({1: sample_feeds(session, task, shapes=_noise_shapes(task, subject))}) as feeds:
            peaks = [peak_memory_mb(subject.artifact, feeds) for _ in range(_MEMORY_RUNS)]
        return [peak for peak in peaks if peak is not None]

    def energies_mj(
        self, candidate: Subject, baseline: Subject, session: Session, task: Task | None
    ) -> tuple[list[float], list[float]] | None:
        """See :meth:`Place.energies_mj`: by the own counter of the processor or GPU that runs it."""
        from compress.backends import session_options_of
        from compress.profiling.energy import counters, energy_mj
        from compress.profiling.latency import sample_feeds, timer
        from compress.profiling.steady_state import warm_up

        counted = [counters(session_options_of(artifact_of(side)).provider) for side in (candidate, baseline)]
        if not all(counted):
            return None
        feeds = sample_feeds(session, task, shapes=_noise_shapes(task, baseline, candidate))
        calls = [self._stack.enter_context(side.open()).prepared(feeds) for side in (candidate, baseline)]
        for call in calls:
            warm_up(timer(call), _WARM_UP_S)
        figures: tuple[list[float], list[float]] = ([], [])
        for _ in range(ENERGY_RUNS):
            for call, energies, counter in zip(calls, figures, counted, strict=True):
                energy = energy_mj(call, counted=counter)
                if energy is None:
                    return None
                energies.append(energy)
        return figures

    def coverage(self, subject: Subject) -> Coverage | None:
        """See :meth:`Place.coverage`: as recorded, else from what the runtime makes of the file."""
        from compress.backends import load_backend

        if subject.profile is not None:
            return subject.profile.coverage
        if subject.artifact is None:
            return None
        return load_backend(subject.artifact.backend).coverage(subject.artifact)

    def _feeds(self, candidate: Subject, baseline: Subject, task: Task | None) -> dict[int, Path]:
        """Store a batch of every size that either side was built for in a file; the same for every round."""
        from compress.profiling.latency import sample_feeds
        from compress.timing.processes import stored_feeds

        if self._stored is None:
            # A language model of which parts were removed takes a part of what the baseline takes.
            subject = candidate if task is not None or baseline.artifact is None else baseline
            with subject.open(spinning=False) as session:
                sizes = _batch_sizes(session, candidate, baseline)
                shapes = _noise_shapes(task, baseline, candidate)
                feeds = {batch: sample_feeds(session, task, batch, shapes) for batch in sizes}
            self._stored = self._stack.enter_context(stored_feeds(feeds))
        return self._stored


def _noise_shapes(task: Task | None, *subjects: Subject) -> GivenShapes:
    """Return the shapes of noise for axes that are open: those of the first sample that a bundle holds."""
    if task is not None:
        return ()
    return next((shapes for subject in subjects if (shapes := shapes_of_sample(subject.sample))), ())


def artifact_of(subject: Subject) -> Artifact:
    """Return the artifact of a subject.

    Raises:
        BundleError: The subject is a recorded profile.
    """
    if subject.artifact is None:
        problem = f"{subject.name}: a profile"
        raise BundleError("a build that can be run", problem, "give the bundle or ONNX file")
    return subject.artifact


def _batch_sizes(session: Session, candidate: Subject, baseline: Subject) -> Sequence[int]:
    """Return the batch sizes in the sides' profiles; for two ONNX files those of the target ``cpu``."""
    from compress.hosts.base import batch_sizes
    from compress.target.target import load_target

    target = load_target("cpu")
    recorded = [
        latency.batch
        for side in (candidate, baseline)
        if side.profile is not None
        for latency in side.profile.latency
    ]
    sizes = tuple(dict.fromkeys(recorded)) or target.batch_sizes
    return batch_sizes(session, replace(target, batch_sizes=sizes))
