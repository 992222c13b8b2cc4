"""Measurement of one artifact for its profile: accuracy, latency, memory and size of the same file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.base import Artifact
from compress.core.progress import Reporter
from compress.core.versions import versions
from compress.hosts.base import Build, Reference, Tuned, batch_sizes
from compress.profiling.accuracy import accuracy_of, needs_reference, originals_of, outcomes_of, shown
from compress.profiling.kept_outputs import KeptOutputs
from compress.profiling.noise import doubts
from compress.profiling.rounding import Rounding
from compress.profiling.slices import slices_of
from compress.records.profile import Latency, Profile, Slice, inside_margin

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.data.task import Task
    from compress.hosts.base import Host
    from compress.records.greedy import GreedyText
    from compress.target.target import Target


@dataclass(frozen=True)
class Original:
    """The fp32 build that drops and ratios refer to.

    Attributes:
        profile: Measurements of it.
        artifact: Artifact with its file.
        fastest: The fastest fp32 by batch size; see :class:`compress.hosts.base.Reference`.
        outputs: Kept outputs on the evaluation data; None where none were kept.
    """

    profile: Profile
    artifact: Artifact
    fastest: Mapping[int, Artifact] = field(default_factory=dict)
    outputs: KeptOutputs | None = None


def measure(
    artifact: Artifact,
    recipe: str,
    *,
    host: Host,
    task: Task | None,
    target: Target,
    original: Original | None,
    fingerprint: dict[str, Any],
    network: tuple[str, str | None] | None = None,
    settled: Callable[[bool], Tuned] | None = None,
    decisive: int | None = None,
    rival: float | None = None,
    max_drop: float = math.inf,
    keep: KeptOutputs | None = None,
    same: bool = False,
    answers: Callable[[Session], GreedyText | None] | None = None,
    reporter: Reporter | None = None,
) -> Profile:
    """Measure one artifact.

    Args:
        artifact: Artifact to measure.
        recipe: Name of the recipe that made it.
        host: Host that runs it, or estimates its latency.
        task: Evaluation data and metric, bound to the network; None measures no accuracy, and times seeded noise.
        target: Target of the build.
        original: The fp32 build that drops and ratios refer to; None for that build itself.
        fingerprint: Fingerprint of this machine.
        network: Name of the original network, and sha256 of its file, as far as known.
        settled: Function that returns the artifact with the session options to time and ship it with; its argument says
            whether the build cannot be chosen whatever its time. It is called once accuracy is judged, which these
            options do not change. None keeps the artifact's options.
        decisive: Batch size that decides between builds; None for the target's first.
        rival: Upper bound of the best build's ratio; see :meth:`Host.latency`.
        max_drop: Accuracy drop in points that the build must provably stay within to be chosen: if not, it is timed
            only at the decisive batch size, and its layers are not timed.
        keep: Store for the original's outputs on the evaluation data; None keeps none.
        same: Whether the recipe computes the same as the original; its outputs are then checked to be the original's.
        answers: Function that returns what a language model answers to the beginnings of documents; see
            :func:`compress.language.greedy.greedy_text`. None asks for no answers.
        reporter: Receives the progress.

    Raises:
        CompressError: The artifact does not run, or its outputs are not finite.
    """
    reporter = reporter or Reporter()
    name, sha256 = network or (None, None)
    with host.exclusive():
        conditions = host.conditions(artifact)
        with ExitStack() as stack:
            build = Build(artifact, stack.enter_context(host.open(artifact, target)))
            host.try_out(build, target, task)
            reference = None
            if original is not None:
                has_outputs = original.outputs is not None and original.outputs.batch_size is not None
                other = build.session  # takes and gives the same; a session of the original costs its memory
                read = same or (task is not None and needs_reference(task))
                if host.opens_original or (task is not None and not has_outputs and read):
                    other = stack.enter_context(host.open(original.artifact, target))
                reference = Reference(Build(original.artifact, other), original.fastest)
            accuracy, outcomes = None, np.empty(0)
            slices: tuple[Slice, ...] = ()
            out = False  # of the race, whatever its time
            if task is not None:
                reporter.step("accuracy", len(task.evaluation))
                against = None if original is None else _answers(original, reference)
                rounding = Rounding() if same and against is not None else None
                outcomes_by_output = outcomes_of(build.session, task, against, reporter.tick, keep, rounding)
                before = None if original is None else originals_of(original.profile.outcomes, task)
                shown_same = None if rounding is None else rounding.shown
                accuracy = accuracy_of(outcomes_by_output, before, task.evaluation.sha256, shown_same)
                outcomes = shown(outcomes_by_output, before).values
                if task.evaluation.labels is not None:
                    paired = None if before is None else before[0].values
                    values = outcomes_by_output[0].values
                    slices = slices_of(values, paired, task.metric, task.evaluation.labels, task.classes)
                out = not inside_margin(accuracy.drop, max_drop)
            greedy = None if answers is None else answers(build.session)

        # Timed with nothing open in this process: what a session holds is memory that the others lack.
        tuned = Tuned(artifact) if settled is None else settled(out)
        artifact = tuned.artifact
        build = replace(build, artifact=artifact)
        reporter.step("latency")
        rival = 0.0 if out else rival
        figures = host.latency(build, reference, task, deciding(target, decisive), rival)
        latency = _completed(figures, target.batch_sizes, tuned.costs)
        energy = host.energy(build, deciding(target, decisive), task)
        parts_ms = host.parts_ms(build, deciding(target, decisive), task)
        layers = () if out else host.layers(build, target, task)
        coverage, doubtful = host.coverage(build), host.doubts(build)
    reporter.step("measuring peak memory")
    return Profile(
        recipe=recipe,
        artifact_sha256=artifact.sha256,
        artifact_bytes=artifact.size_bytes,
        backend=artifact.backend,
        options=artifact.options,
        target=target.name,
        accuracy=accuracy,
        latency=latency,
        peak_memory_mb=host.peak_memory_mb(build, target, task),
        coverage=coverage,
        fingerprint=fingerprint,
        versions=versions(),
        layers=layers,
        outcomes=tuple(float(value) for value in outcomes),
        slices=slices,
        network=name,
        network_sha256=sha256,
        inputs=tuple(spec.to_dict() for spec in build.session.inputs),
        outputs=tuple(spec.to_dict() for spec in build.session.outputs),
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        conditions=conditions,
        energy_mj=None if energy is None else energy.call_mj,
        energy_interval=None if energy is None else energy.interval,
        energy_batch=None if energy is None else batch_sizes(build.session, deciding(target, decisive))[0],
        power_w=None if energy is None else energy.power_w,
        parts_ms=parts_ms,
        greedy=greedy,
        warnings=(
            *(doubt for figure in latency if figure.source == "measured" for doubt in doubts(figure)),
            *doubtful,
        ),
    )


def _answers(original: Original, reference: Reference | None) -> Session | KeptOutputs | None:
    """Return what a build's outputs are compared with: the original's kept outputs, or its session."""
    if original.outputs is not None and original.outputs.batch_size is not None:
        return original.outputs
    return None if reference is None else reference.original.session


def deciding(target: Target, batch: int | None) -> Target:
    """Return the target with one of its batch sizes first, which then decides; None leaves the order."""
    if batch is None:
        return target
    return replace(target, batch_sizes=(batch, *(size for size in target.batch_sizes if size != batch)))


def _completed(
    figures: Sequence[Latency], batches: Sequence[int], costs: Mapping[int, float]
) -> tuple[Latency, ...]:
    """Return latencies in the order of the target's batch sizes, paced calls last, with the cost of session options."""
    order = {batch: position for position, batch in enumerate(batches)}
    placed = sorted(figures, key=lambda figure: (figure.period_ms is not None, order.get(figure.batch, -1)))
    return tuple(replace(figure, settings_cost=costs.get(figure.batch)) for figure in placed)
