"""A machine with TensorRT, here or behind ssh: graphs are built there by ``trtexec``, and the engines measured.

Several engines are built of every graph, and timed in turns with as many of the original's: what is told is the median
over builds, and its interval holds every build's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.backends.base import Artifact, Session
from compress.backends.tensorrt import optimization_profile
from compress.backends.trtexec import TensorRtOptions, Trtexec, layer_arguments, timing_arguments
from compress.backends.trtexec_output import call_times, coverage_of, layer_times
from compress.errors import (
    ConnectionLostError,
    InternalError,
    MachineChangedError,
    TargetError,
)
from compress.hosts.base import Build, Host, Reference, batch_sizes
from compress.hosts.board import Board, probe
from compress.hosts.engine_session import EngineSession, load
from compress.hosts.engines import Engine, Engines
from compress.hosts.lock import Lock
from compress.hosts.power_modes import PowerModes, recover
from compress.hosts.shell import Shell
from compress.hosts.watched import TELEMETRY, Watched, telemetry_command, watch
from compress.machine.machine import fingerprint_id
from compress.onnx_graph.precision import precision_of
from compress.profiling.energy import Energy, interval_of
from compress.profiling.latency import LEVEL, sample_feeds, shapes_of, summary
from compress.profiling.noise import drift
from compress.records.layer_time import LayerTime
from compress.records.profile import Interval, Latency, Source
from compress.statistics.quantiles import quantile_interval
from compress.target.shape_ranges import usual_shapes

if TYPE_CHECKING:
    from compress.data.task import Task
    from compress.records.coverage import Coverage
    from compress.target.target import Target

Times = np.ndarray[Any, np.dtype[np.float64]]

#: Times that each build is timed: with three builds, six pairs, which bound a median at 95 %.
_TURNS = 2
#: Time of timed calls of each build of a pair.
_PAIR_SECONDS = 1.0


@dataclass(frozen=True)
class EngineRun:
    """One engine, timed once.

    Attributes:
        times_ms: Time of each call with its copies, ``(n,)``, in milliseconds.
        power_w: Mean power while it was timed, in watts; None where it is unknown.
        doubts: Reasons to doubt the times, a sentence each.
    """

    times_ms: Times
    power_w: float | None
    doubts: tuple[str, ...]

    @property
    def energy_mj(self) -> float | None:
        """Energy of a call, in millijoules; None where the power is unknown."""
        return None if self.power_w is None else self.power_w * float(np.median(self.times_ms))


class TensorRtHost(Host):
    """A machine that builds and runs engines; a context manager that leaves nothing there.

    Args:
        shell: Shell of the machine.
        seconds: Time to measure each build at each batch size, in seconds.
        keep: Whether to leave engines and timing caches on the machine.
        on_note: Receives a sentence when the machine is in use and has to be waited for.
    """

    source: ClassVar[Source] = "measured"
    builds_take_seconds = False

    def __init__(
        self,
        shell: Shell,
        seconds: float = 2.0,
        *,
        keep: bool = False,
        on_note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.backend = Trtexec()
        if (left := recover(shell)) is not None:
            on_note(f"power mode {left} put back, which an interrupted sweep had changed")
        self.board: Board = probe(shell)
        self._shell, self._seconds, self._keep = shell, seconds, keep
        self._lock = Lock(shell, on_wait=lambda who: on_note(f"waiting for {who}, who uses {shell.name}"))
        self._engines = Engines(shell, self.board, self._lock.beat)
        self._watched: dict[tuple[str, str], Watched] = {}
        self.power_modes = PowerModes(shell, self._lock, bool(self.board.clocks_locked))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clean up on the machine; engines of an interrupted run stay for the next one."""
        interrupted = isinstance(error, KeyboardInterrupt | ConnectionLostError | MachineChangedError)
        try:
            if not interrupted and not self._keep:
                self._engines.remove()
        finally:
            self._shell.close()

    def adapt(self, target: Target) -> Target:
        """See :meth:`Host.adapt`: the releases that are installed there.

        Raises:
            TargetError: The machine has another GPU than the target.
        """
        board_capability, target_capability = self.board.compute_capability, target.compute_capability
        if board_capability and target_capability and board_capability != target_capability:
            raise TargetError(
                f"a board of the target {target.name} (compute capability {target_capability})",
                f"{self.board.model} ({board_capability}) at {self._shell.name}",
                "choose its target: compress targets",
            )
        return replace(
            target, tensorrt=self.board.tensorrt, jetpack=self.board.jetpack or target.jetpack, here=False
        )

    def fingerprint(self) -> dict[str, Any]:
        """See :meth:`Host.fingerprint`: of the board, and nothing of this machine."""
        return dict(self.board.fingerprint())

    def conditions(self, artifact: Artifact) -> dict[str, Any]:
        """See :meth:`Host.conditions`: temperature, clock and free memory there, now.

        Raises:
            MachineChangedError: See :meth:`check_unchanged`.
        """
        now = self.check_unchanged()
        return {
            "temperature_c": now.temperature_c,
            "gpu_mhz": now.gpu_mhz,
            "memory_free_mb": now.memory_free_mb,
        }

    def check_unchanged(self) -> Board:
        """Ask the board for its description again, and check that it is unchanged.

        Raises:
            MachineChangedError: Its power mode or clocks have changed since it was connected.
        """
        now = probe(self._shell)
        before, after = self.board.fingerprint(), now.fingerprint()
        if fingerprint_id(before) != fingerprint_id(after):
            changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
            raise MachineChangedError(
                f"{self._shell.name} as the figures before were taken: "
                + ", ".join(f"{key} {before.get(key, 'not told')}" for key in changed),
                ", ".join(f"{key} {after.get(key, 'not told')}" for key in changed),
                "set it back (sudo nvpmodel -m MODE, sudo jetson_clocks) and give the same command again",
            )
        return now

    def exclusive(self) -> AbstractContextManager[None]:
        """See :meth:`Host.exclusive`: across all users of the board."""
        return self._lock.held()

    def open(self, artifact: Artifact, target: Target) -> Session:
        """See :meth:`Host.open`: builds the first engine, or finds it."""
        from compress.backends.onnxruntime import OnnxRuntime

        as_written = replace(artifact, backend="onnxruntime", options={"qdq_fusion": False})
        with OnnxRuntime().open(as_written) as here:
            inputs, outputs = here.inputs, here.outputs
        precision, on_dla = precision_of(artifact.path), _options(artifact).dla_core is not None
        engine = self._engines.engine(artifact, inputs, precision, target, 0)

        def widened(size: int) -> Engine:
            wide = replace(target, batch_sizes=(*target.batch_sizes, size))
            return self._engines.engine(artifact, inputs, precision, wide, 0)

        profile = optimization_profile(inputs, target, dla=on_dla)
        return EngineSession(
            self._engines, engine, inputs, outputs, profile, widened=None if on_dla else widened
        )

    def latency(
        self,
        build: Build,
        reference: Reference | None,
        task: Task | None,
        target: Target,
        rival: float | None = None,
    ) -> tuple[Latency, ...]:
        """See :meth:`Host.latency`: by ``trtexec``, copies included, engines of both in turns."""
        original = None if reference is None else reference.original
        count = _options(build.artifact).builds
        watched = self._watched[_identity(build)] = Watched()
        figures = tuple(
            self._timed(build, original, count, task, batch, target, watched)
            for batch in batch_sizes(build.session, target)
        )
        self.check_unchanged()  # What was timed half in another power mode is not to be recorded.
        return figures

    def pair(
        self, build: Build, other: Build, task: Task | None, target: Target, number: int, batch: int
    ) -> tuple[EngineRun, EngineRun]:
        """Time one engine of each of two graphs right after each other.

        Args:
            build: First build of the pair.
            other: Second build of the pair.
            task: Real samples to feed; None feeds seeded noise.
            target: Target of both builds.
            number: Number of the pair, from 0: decides which of each graph's engines is taken, and which of the two
                runs first.
            batch: Samples in a call, one of the target's sizes.
        """
        count = _options(build.artifact).builds
        feeds = _feeds(build.session, task, batch, target)
        sides = (build, other) if number % 2 == 0 else (other, build)
        runs = []
        for side in sides:
            engine, seen = self._engine(side, _at(side, target, batch), number % count), Watched()
            times = self._times(engine, _session(side), feeds, batch, _PAIR_SECONDS, seen)
            runs.append(EngineRun(times, seen.power_w[0] if seen.power_w else None, tuple(seen.doubts)))
        return (runs[0], runs[1]) if number % 2 == 0 else (runs[1], runs[0])

    def layers(self, build: Build, target: Target, task: Task | None = None) -> tuple[LayerTime, ...]:
        """See :meth:`Host.layers`: of the first engine, timed in a run of its own."""
        session = _session(build)
        batch = batch_sizes(session, target)[0]
        feeds = _feeds(session, task, batch, target)
        loaded = load(self._engines, session.engine, session.inputs, feeds)
        release = self.board.tensorrt
        arguments = layer_arguments(
            release, session.inputs, shapes_of(feeds), loaded=loaded, profile="profile.json"
        )
        self._engines.run(session.engine, arguments, "time layers", writes=["profile.json"])
        times = layer_times(self._engines.take(session.engine, "profile.json"))
        total = sum(times.values()) or 1.0
        layers_by_name = {layer.name: layer for layer in session.engine.layers}
        return tuple(
            LayerTime(
                name=name,
                operator=layers_by_name[name].kind if name in layers_by_name else "unknown",
                ms=ms,
                source="measured",
                precision=layers_by_name[name].precision if name in layers_by_name else "unknown",
                share=ms / total,
            )
            for name, ms in times.items()
        )

    def coverage(self, build: Build) -> Coverage:
        """See :meth:`Host.coverage`: read back from the engine."""
        return coverage_of(_session(build).engine.layers, _options(build.artifact).dla_core)

    def doubts(self, build: Build) -> tuple[str, ...]:
        """See :meth:`Host.doubts`: a clock that fell, an accelerator that was not used."""
        doubts = list(dict.fromkeys(self._watched.get(_identity(build), Watched()).doubts))
        fallen = self.coverage(build).fell_back
        if fallen:
            names = ", ".join(fallen[:3]) + (" …" if len(fallen) > 3 else "")
            doubts.append(f"{len(fallen)} layers fell back from the DLA to the GPU: {names}")
        return tuple(doubts)

    def energy(self, build: Build, target: Target, task: Task | None = None) -> Energy | None:
        """See :meth:`Host.energy`: mean power of the module while it was timed × median time of a call.

        Both are of the batch size alone that was timed first: a larger batch draws more power.
        """
        seen = self._watched.get(_identity(build))
        if seen is None or not seen.power_w or seen.call_ms is None:
            return None
        power_w = float(np.mean(seen.power_w))
        return Energy(
            power_w * seen.call_ms, interval_of([watts * seen.call_ms for watts in seen.power_w]), power_w
        )

    def measures_energy(self, target: Target) -> bool:
        """See :meth:`Host.measures_energy`: where the vendor's tool reports power."""
        return bool(telemetry_command(self.board))

    def peak_memory_mb(self, build: Build, target: Target, task: Task | None = None) -> float | None:
        """Return None: ``trtexec`` does not report its peak memory."""
        return None

    def _engine(self, build: Build, target: Target, index: int) -> Engine:
        """Return one of several engines for the target's batch sizes."""
        session = _session(build)
        if index == 0 and session.takes_batches(target.batch_sizes):
            return session.engine
        return self._engines.engine(
            build.artifact, session.inputs, precision_of(build.artifact.path), target, index
        )

    def _timed(
        self,
        build: Build,
        original: Build | None,
        count: int,
        task: Task | None,
        batch: int,
        target: Target,
        watched: Watched,
    ) -> Latency:
        """Time one batch size: each engine and its opponent in turns, in alternating order."""
        engines = [self._engine(build, _at(build, target, batch), index) for index in range(count)]
        other = (
            None
            if original is None
            else [self._engine(original, _at(original, target, batch), index) for index in range(count)]
        )
        of_batch = Watched()
        feeds = _feeds(build.session, task, batch, target)
        seconds = self._seconds / (len(engines) * _TURNS)
        runs: list[tuple[int, Times]] = []
        log_ratios = []
        for turn in range(len(engines) * _TURNS):
            index = turn % len(engines)
            pair = [engines[index]] if other is None else [engines[index], other[index]]
            times = {}
            for engine in pair if turn % 2 == 0 else reversed(pair):
                seen = of_batch if engine is engines[index] else Watched()
                times[id(engine)] = self._times(engine, _session(build), feeds, batch, seconds, seen)
            runs.append((index, times[id(engines[index])]))
            if other is not None:
                medians = [float(np.median(times[id(timed)])) for timed in pair]
                log_ratios.append(math.log(medians[0] / medians[1]))
        latency = replace(_over_builds(runs, batch), shapes=shapes_of(feeds))
        watched.doubts += of_batch.doubts
        if watched.call_ms is None:  # energy is told of the batch size that decides, and of nothing else
            watched.call_ms, watched.power_w = latency.p50_ms, of_batch.power_w
        if not log_ratios:
            return latency
        bounds = quantile_interval(np.array(log_ratios), 0.5, LEVEL)
        return replace(
            latency,
            ratio=math.exp(float(np.median(log_ratios))),
            ratio_interval=None
            if bounds is None
            else Interval(math.exp(bounds.lower), math.exp(bounds.upper), LEVEL),
        )

    def _times(
        self,
        engine: Engine,
        session: EngineSession,
        feeds: Mapping[str, np.ndarray[Any, Any]],
        batch: int,
        seconds: float,
        seen: Watched,
    ) -> Times:
        """Return the milliseconds of each call; power and clocks are recorded meanwhile where the board can."""
        loaded = load(self._engines, engine, session.inputs, feeds)
        arguments = timing_arguments(
            self.board.tensorrt,
            session.inputs,
            shapes_of(feeds),
            seconds,
            loaded=loaded,
            cuda_graph=_options(engine.artifact).cuda_graph and _options(engine.artifact).dla_core is None,
        )
        self._engines.run(
            engine,
            arguments,
            f"time an engine at batch {batch}",
            writes=["times.json", TELEMETRY],
            beside=telemetry_command(self.board),
        )
        watch(self._engines, engine, seen)
        all_times, _ = call_times(self._engines.take(engine, "times.json"))
        return all_times


def _over_builds(runs: list[tuple[int, Times]], batch: int) -> Latency:
    """Summarize all engines; the median's interval contains each engine's own median."""
    together = summary(np.concatenate([times for _, times in runs]), batch)
    medians = [
        float(np.median(np.concatenate([times for index, times in runs if index == build])))
        for build in {index for index, _ in runs}
    ]
    drifts = [drifted for _, times in runs if (drifted := drift(times)) is not None]
    return replace(
        together,
        interval=Interval(min(together.interval.low, *medians), max(together.interval.high, *medians), LEVEL),
        # From one engine to the next is no drift.
        drift=max(drifts, key=abs, default=None),
    )


def _identity(build: Build) -> tuple[str, str]:
    return build.artifact.sha256, repr(sorted(build.artifact.options.items()))


def _session(build: Build) -> EngineSession:
    if not isinstance(build.session, EngineSession):
        raise InternalError("an engine of this host", type(build.session).__name__, "report this as a defect")
    return build.session


def _options(artifact: Artifact) -> TensorRtOptions:
    return TensorRtOptions.read(artifact.options)


def _at(build: Build, target: Target, batch: int) -> Target:
    """Return the target of the engine timed at a batch size: an accelerator takes one shape, the GPU all."""
    if _options(build.artifact).dla_core is None:
        return target
    return replace(target, batch_sizes=(batch,))


def _feeds(
    session: Session, task: Task | None, batch: int, target: Target
) -> dict[str, np.ndarray[Any, Any]]:
    """Return a batch of the shapes at which engines are fastest."""
    return sample_feeds(session, task, batch, usual_shapes(target.input_shapes, session.inputs))
