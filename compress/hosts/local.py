"""This machine as a host: each build is measured in processes of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.backends import load_backend, session_options_of, sleeping
from compress.backends.base import Artifact, Backend, Session
from compress.backends.first_opening import open_elsewhere
from compress.backends.providers import CPU, on_nvidia_gpu
from compress.core.decoder_texts import CONTEXT_KEY, EOS_KEY, PARTS_KEY
from compress.errors import CompressError, NetworkError
from compress.hosts.base import Build, Host, Reference, Tuned, batch_sizes
from compress.machine.machine import cpu
from compress.profiling.breakdown import measured_layers
from compress.profiling.conditions import conditions
from compress.profiling.energy import Energy, counters, energy_of
from compress.profiling.latency import Budget, Feeds, GivenShapes, sample_feeds, timed, timer
from compress.records.profile import Latency, Source
from compress.timing.contest import MOST_STARTS, Contest, distinct
from compress.timing.processes import peak_memory_mb, stored_feeds, workers
from compress.timing.settings import compare
from compress.timing.solo import time_alone
from compress.timing.turns import take_turns

if TYPE_CHECKING:
    from pathlib import Path

    from compress.core.progress import Reporter
    from compress.data.task import Task
    from compress.records.decoder_speed import DecoderSpeed
    from compress.records.draft_speed import DraftSpeed
    from compress.records.layer_time import LayerTime
    from compress.target.target import Target

#: Seconds of calls under the runtime's profiler.
_TRACING_SECONDS = 0.2

#: Time for each part of a call.
_PARTS = Budget(seconds=0.3, least=10, warm_up_seconds=0.1)

#: Session options are tried anew for each build whose call at the first batch size takes at most so many milliseconds.
#: In longer calls, what threads cost is a small share and much the same from build to build.
_TUNED_MS = 20.0


class LocalHost(Host):
    """The machine this process runs on.

    Args:
        backend: Back end that runs the original network.
        budget: Time to measure a build at each batch size.
        shapes: Shapes of the inputs that are fed noise, where there is no data; empty for inputs without open axes.
    """

    source: ClassVar[Source] = "measured"
    opens_original: ClassVar[bool] = False

    def __init__(self, backend: Backend, budget: Budget | None = None, shapes: GivenShapes = ()) -> None:
        self.backend = backend
        self.builds_take_seconds = backend.name != "torch-tensorrt"  # it builds TensorRT's engines
        self._shapes = shapes
        self.budget = budget or Budget()
        self._peaks_mb: dict[str, float | None] = {}

    def conditions(self, artifact: Artifact) -> dict[str, Any]:
        """See :meth:`Host.conditions`."""
        return conditions(session_options_of(artifact))

    def open(self, artifact: Artifact, target: Target) -> Session:
        """See :meth:`Host.open`; threads do not spin in this process, where several sessions are open."""
        return load_backend(artifact.backend).open(sleeping(artifact))

    def latency(
        self,
        build: Build,
        reference: Reference | None,
        task: Task | None,
        target: Target,
        rival: float | None = None,
    ) -> tuple[Latency, ...]:
        """See :meth:`Host.latency`: host to host, copies included, in processes of their own."""
        feeds = self._feeds(build, task, target)
        period_s = None if target.calls_per_second is None else 1 / target.calls_per_second
        with stored_feeds(feeds) as paths:
            if reference is None:
                figures, peak = time_alone(build.artifact, feeds, paths, self.budget, period_s)
            else:
                contest = Contest(build.artifact, reference.at, feeds, paths, self.budget, period_s, rival)
                figures, peak = contest.figures()
        self._peaks_mb[_identity(build.artifact)] = peak
        return figures

    def first_ratio(self, artifact: Artifact, fp32: Artifact, task: Task, target: Target) -> float | None:
        """See :meth:`Host.first_ratio`: in turns, each in a process of its own."""
        batch, feeds = next(iter(self._feeds_of(artifact, task, target).items()))
        with stored_feeds({batch: feeds}) as paths, workers([artifact, fp32], paths) as opened:
            turns = take_turns(opened, batch, self.budget.seconds / MOST_STARTS)
        return math.exp(turns.log_ratio(0, 1))

    def try_out(self, build: Build, target: Target, task: Task | None = None) -> None:
        """See :meth:`Host.try_out`."""
        feeds = self._feeds(build, task, target, first=True)
        with stored_feeds(feeds) as paths, workers([build.artifact], paths):
            return

    def reference(
        self, artifact: Artifact, given: Artifact | None, task: Task, target: Target, threads: int | None
    ) -> tuple[Tuned, dict[int, Artifact]]:
        """See :meth:`Host.reference`: the user's own file and every set of options take turns."""
        feeds = self._feeds_of(artifact, task, target)
        variants = [artifact, *_runnable(_variants(artifact, target, threads), feeds)]
        with stored_feeds(feeds) as paths:
            comparison = None
            if given is not None:
                with suppress(NetworkError):  # the file alone does not run here; what is built of it may
                    comparison = compare([given, *variants], paths)
            if comparison is None:
                comparison = compare(variants, paths)
        ours = range(len(comparison.artifacts) - len(variants), len(comparison.artifacts))
        decisive = next(iter(comparison.relative))
        position = comparison.chosen(decisive, ours)
        if any(times[position] > comparison.limit for times in comparison.relative.values()):
            position = 0  # folding made the build slower than the file as it came
        fastest = {batch: comparison.artifacts[comparison.fastest(batch)] for batch in comparison.relative}
        return Tuned(comparison.artifacts[position], comparison.costs(position)), fastest

    def tune(
        self,
        artifact: Artifact,
        task: Task,
        target: Target,
        threads: int | None,
        *,
        known: Mapping[str, Any] | None = None,
        kept: Mapping[str, Any] | None = None,
        fastest: Mapping[int, Artifact] | None = None,
        compared: bool = True,
    ) -> Tuned:
        """See :meth:`Host.tune`: the default options and each other set of them take turns."""
        variants = _variants(artifact, target, threads, kept)
        if not variants or (known is None and not compared):
            return Tuned(artifact)
        feeds = self._feeds_of(artifact, task, target)
        as_before = replace(artifact, options={**artifact.options, **(known or {}), **(kept or {})})
        (as_before,) = _runnable([as_before], feeds) or [artifact]
        if not compared:
            return Tuned(as_before)
        variants = _runnable(variants, feeds)
        with stored_feeds(feeds) as paths:
            if known is not None:
                first = next(iter(paths))
                with workers([artifact], {first: paths[first]}) as (worker,):
                    slow = float(worker.calls(first, 0.0, least=2).min()) > _TUNED_MS
                if slow:
                    return Tuned(as_before)
            references = distinct((fastest or {}).values())
            comparison = compare([artifact, *variants, *references], paths)
        ours = range(1 + len(variants))
        fp32 = {
            batch: len(ours) + references.index(reference) for batch, reference in (fastest or {}).items()
        }
        position = comparison.chosen(next(iter(comparison.relative)), ours, fp32)
        return Tuned(comparison.artifacts[position], comparison.costs(position, ours))

    def layers(self, build: Build, target: Target, task: Task | None = None) -> tuple[LayerTime, ...]:
        """See :meth:`Host.layers`: measured by the runtime's own profiler."""
        feeds = self._feeds(build, task, target, first=True)
        backend = load_backend(build.artifact.backend)
        times = backend.operator_times(build.artifact, next(iter(feeds.values())), _TRACING_SECONDS)
        if times is None:
            return ()
        return measured_layers(times, target, session_options_of(build.artifact).intra_op_threads)

    def energy(self, build: Build, target: Target, task: Task | None = None) -> Energy | None:
        """See :meth:`Host.energy`: by the own counter of the processor or GPU that runs it."""
        counted = counters(session_options_of(build.artifact).provider)
        if not counted:
            return None
        (feeds,) = self._feeds(build, task, target, first=True).values()
        with load_backend(build.artifact.backend).open(build.artifact) as session:
            return energy_of(session.prepared(feeds), counted)

    def parts_ms(self, build: Build, target: Target, task: Task | None = None) -> dict[str, float]:
        """See :meth:`Host.parts_ms`: of an encoder–decoder."""
        if PARTS_KEY not in build.session.metadata:
            return {}
        (feeds,) = self._feeds(build, task, target, first=True).values()
        with load_backend(build.artifact.backend).open(build.artifact) as session:
            calls = session.part_calls(feeds)
            return {name: float(np.median(timed(timer(call), _PARTS)[0])) for name, call in calls.items()}

    def decoding(
        self,
        artifact: Artifact,
        target: Target,
        reporter: Reporter,
        contexts: Sequence[int] = (),
        batches: Sequence[int] = (),
    ) -> tuple[DecoderSpeed, ...]:
        """See :meth:`Host.decoding`: in ONNX Runtime on a processor, each condition in a process of its own."""
        context = self.context_of(artifact, target)
        if context is None:
            return ()
        from compress.timing.decoding import decoding_speeds

        return decoding_speeds(
            artifact,
            context,
            contexts=contexts,
            batches=batches,
            cores=cpu().cores,
            seconds=self.budget.seconds,
            reporter=reporter,
        )

    def with_draft(
        self, artifact: Artifact, target: Target, draft: Path, prompts: Sequence[Sequence[int]], asked: int
    ) -> DraftSpeed | None:
        """See :meth:`Host.with_draft`: in ONNX Runtime on a processor."""
        if self.context_of(artifact, target) is None:
            return None
        from compress.timing.decoding import draft_speed

        return draft_speed(artifact, draft, prompts, asked)

    def context_of(self, artifact: Artifact, target: Target) -> int | None:
        """Return the length of the context of a decoder of text that :meth:`decoding` measures; None for others."""
        options = session_options_of(artifact)
        if artifact.backend != "onnxruntime" or options.provider not in (None, CPU):
            return None
        with self.open(artifact, target) as session:
            metadata = session.metadata
            if PARTS_KEY in metadata or not {CONTEXT_KEY, EOS_KEY} <= set(metadata):
                return None
            return int(metadata[CONTEXT_KEY])

    def measures_energy(self, target: Target) -> bool:
        """See :meth:`Host.measures_energy`: where a counter of the target's processor or GPU can be read."""
        return bool(counters(target.provider))

    @property
    def measures_memory(self) -> bool:
        """See :meth:`Host.measures_memory`."""
        return True

    def peak_memory_mb(self, build: Build, target: Target, task: Task | None = None) -> float | None:
        """See :meth:`Host.peak_memory_mb`: of the first process that the build was timed in."""
        if _identity(build.artifact) not in self._peaks_mb:
            feeds = self._feeds(build, task, target, first=True)
            with stored_feeds(feeds) as paths:
                self._peaks_mb[_identity(build.artifact)] = peak_memory_mb(build.artifact, paths)
        return self._peaks_mb[_identity(build.artifact)]

    def noise(self, artifact: Artifact, target: Target) -> Feeds:
        """Return the noise that a build is fed at the first batch size without data."""
        with self.open(artifact, target) as session:
            (feeds,) = self._feeds(Build(artifact, session), None, target, first=True).values()
        return feeds

    def _feeds_of(self, artifact: Artifact, task: Task | None, target: Target) -> dict[int, Feeds]:
        with self.open(artifact, target) as session:
            return self._feeds(Build(artifact, session), task, target)

    def _feeds(
        self, build: Build, task: Task | None, target: Target, first: bool = False
    ) -> dict[int, Feeds]:
        """Return one batch by batch size, at all of the target's batch sizes or only the first."""
        sizes = batch_sizes(build.session, target)
        sizes_fed = sizes[:1] if first else sizes
        return {batch: sample_feeds(build.session, task, batch, self._shapes) for batch in sizes_fed}


def _variants(
    artifact: Artifact, target: Target, threads: int | None, lasting_options: Mapping[str, Any] | None = None
) -> Sequence[Artifact]:
    """Return the build with each other set of session options that is worth trying."""
    options = load_backend(artifact.backend).variants(artifact.options, target, threads)
    sets = [{**option, **(lasting_options or {})} for option in options]
    return [replace(artifact, options=settings) for settings in sets if settings != artifact.options]


def _runnable(variants: Sequence[Artifact], feeds: Mapping[int, Feeds]) -> list[Artifact]:
    """Return the sets of options with which a build opens and runs; on a GPU not every graph takes each of them.

    A graph of which a part stays on the processor cannot be recorded, and one that TensorRT's provider splits takes no
    profile of its inputs alone.
    """
    runnable = []
    for variant in variants:
        if on_nvidia_gpu(session_options_of(variant).provider):
            try:
                for batch in feeds.values():
                    open_elsewhere(variant, batch)
            except CompressError:
                continue
        runnable.append(variant)
    return runnable


def _identity(artifact: Artifact) -> str:
    return f"{artifact.sha256} {sorted(artifact.options.items(), key=str)}"
