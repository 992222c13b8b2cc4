"""The gate on a machine with TensorRT: engines of both builds, built there and timed in turns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import TargetError, UsageError
from compress.gate.place import ENERGY_RUNS, Place, Round, artifact_of

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.task import Task
    from compress.gate.subject import Subject
    from compress.hosts.base import Build
    from compress.hosts.tensorrt import EngineRun, TensorRtHost
    from compress.records.coverage import Coverage
    from compress.records.profile import Latency
    from compress.target.target import Target


class OnBoard(Place):
    """A machine behind ssh, or this one, through ``trtexec``.

    A round times one engine of each build right after each other; rounds take the several builds of a graph in turns,
    since two engines of one graph differ in speed.

    Args:
        machine: The machine, connected and reserved for this gate.
        target: Target, with the releases that the machine has.
    """

    def __init__(self, machine: TensorRtHost, target: Target) -> None:
        self._machine, self._target = machine, target
        self._builds: list[Build] = []
        self._rounds: list[dict[int, tuple[EngineRun, EngineRun]]] = []

    def runs_like(self, candidate: Subject, baseline: Subject) -> tuple[Subject, Subject]:
        """See :meth:`Place.runs_like`: in TensorRT, with those options of a bundle that TensorRT has."""
        default_options = self._machine.backend.default_options(self._target)

        def here(side: Subject) -> Subject:
            recorded = (candidate.options or {}) if side.options is None else side.options
            recorded_options = {key: value for key, value in recorded.items() if key in default_options}
            return side.run_like(self._machine.backend.name, {**default_options, **recorded_options})

        return here(candidate), here(baseline)

    def open(self, subject: Subject) -> Session:
        """See :meth:`Place.open`: the first engine of the build, built where there is none."""
        from compress.hosts.base import Build

        artifact = artifact_of(subject)
        session = self._machine.open(artifact, self._target)
        self._builds.append(Build(artifact, session))
        return session

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Place.fingerprint`: of the board, and nothing of this machine."""
        return self._machine.fingerprint()

    def round(self, candidate: Subject, baseline: Subject, task: Task | None, number: int) -> Round:
        """See :meth:`Place.round`; one that was taken for another check is not taken again.

        Raises:
            MachineChangedError: The board's power mode or clocks are not those that the gate began with.
        """
        from compress.hosts.base import batch_sizes

        sides = self._build(candidate), self._build(baseline)
        while len(self._rounds) <= number:
            by_batch = {
                batch: self._machine.pair(*sides, task, self._target, len(self._rounds), batch)
                for batch in batch_sizes(sides[0].session, self._target)
            }
            self._rounds.append(by_batch)
            self._machine.check_unchanged()
        first = next(iter(self._rounds[number].values()))
        ratios = {
            batch: math.log(float(np.median(ours.times_ms)) / float(np.median(theirs.times_ms)))
            for batch, (ours, theirs) in self._rounds[number].items()
        }
        return Round(ratios, *(side.times_ms for side in first))

    def latency(self, subject: Subject, session: Session, batch: int, task: Task | None) -> Latency | None:
        """See :meth:`Place.latency`."""
        figures = self._machine.latency(self._build(subject), None, task, self._target)
        return next((figure for figure in figures if figure.batch == batch), None)

    def peaks_mb(self, subject: Subject, session: Session, task: Task | None) -> list[float]:
        """See :meth:`Place.peaks_mb`: the tool does not say what it takes."""
        return []

    def energies_mj(
        self, candidate: Subject, baseline: Subject, session: Session, task: Task | None
    ) -> tuple[list[float], list[float]] | None:
        """See :meth:`Place.energies_mj`: mean power while a round was timed × median time of its calls."""
        for number in range(ENERGY_RUNS):
            self.round(candidate, baseline, task, number)
        firsts = [next(iter(by_batch.values())) for by_batch in self._rounds]
        pairs = [(ours.energy_mj, theirs.energy_mj) for ours, theirs in firsts]
        measured_pairs = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
        if len(measured_pairs) < ENERGY_RUNS:
            return None
        return [ours for ours, _ in measured_pairs], [theirs for _, theirs in measured_pairs]

    def coverage(self, subject: Subject) -> Coverage | None:
        """See :meth:`Place.coverage`: layers of an engine are fused, and no share of operations is told of them."""
        return None

    def doubts(self) -> tuple[str, ...]:
        """See :meth:`Place.doubts`: clocks that fell, layers that the accelerator did not take."""
        pairs = [pair for by_batch in self._rounds for pair in by_batch.values()]
        runs = [doubt for pair in pairs for run in pair for doubt in run.doubts]
        builds = [doubt for build in self._builds for doubt in self._machine.doubts(build)]
        return tuple(dict.fromkeys([*runs, *builds]))

    def _build(self, subject: Subject) -> Build:
        # Not by the graph alone: two bundles may hold the same one with other options.
        artifact = artifact_of(subject)
        return next(build for build in self._builds if build.artifact == artifact)


def target_of(candidate: Subject, baseline: Subject, name: str | None) -> Target:
    """Return the target that engines are built for: the named one, else the bundle's own.

    Raises:
        UsageError: No target is named, and neither side records its own.
        TargetError: There is no such target.
    """
    from compress.target.target import load_target

    recorded = next((side.profile.target for side in (candidate, baseline) if side.profile is not None), None)
    chosen = name or recorded
    if chosen is None:
        raise UsageError("--target with --host", "two ONNX files, which do not tell theirs", "give --target")
    try:
        return load_target(chosen)
    except TargetError as error:
        if name is not None:
            raise
        todo = "give --target, the file that the bundle was built for"
        raise TargetError(error.wanted, error.found, todo) from error
