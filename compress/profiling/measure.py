"""Accuracy, latency, memory and size of one artifact: everything a profile holds, of the very same file."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.base import Artifact
from compress.hosts.base import Build
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.profiling.noise import doubts
from compress.profiling.slices import slices_of
from compress.progress import Reporter
from compress.record import Profile, Slice
from compress.versions import versions

if TYPE_CHECKING:
    from compress.hosts.base import Host
    from compress.target import Target
    from compress.task import Task


def measure(
    artifact: Artifact,
    recipe: str,
    *,
    host: Host,
    task: Task | None,
    target: Target,
    original: tuple[Profile, Artifact] | None,
    fingerprint: dict[str, Any],
    network: tuple[str, str | None] | None = None,
    reporter: Reporter | None = None,
) -> Profile:
    """Measure one artifact.

    Args:
        artifact: What is measured.
        recipe: Name of the recipe that made it.
        host: Runs it, or estimates.
        task: Evaluation data and metric, bound to the network; None measures no accuracy, and times seeded noise.
        target: What it is for.
        original: Profile and artifact of the fp32 build that drops and ratios refer to; None for that build itself.
        fingerprint: Of this machine.
        network: Name of the network that it is a build of, and sha256 of the file it came from, as far as known.
        reporter: Receives the progress.

    Raises:
        CompressError: It does not run, or its outputs are not finite.
    """
    reporter = reporter or Reporter()
    name, sha256 = network or (None, None)
    with ExitStack() as stack:
        stack.enter_context(host.exclusive())
        found = host.conditions(artifact.options)
        build = Build(artifact, stack.enter_context(host.open(artifact, target)))
        baseline = None
        if original is not None:
            baseline = Build(original[1], stack.enter_context(host.open(original[1], target)))

        accuracy, outcomes = None, np.empty(0)
        slices: tuple[Slice, ...] = ()
        if task is not None:
            reporter.step("accuracy", len(task.evaluation))
            outcomes = outcomes_of(build.session, task, baseline.session if baseline else None, reporter.tick)
            reference = None if original is None else np.array(original[0].outcomes)
            accuracy = accuracy_of(outcomes, reference, task.metric, task.evaluation.sha256)
            if task.evaluation.labels is not None:
                slices = slices_of(outcomes, reference, task.metric, task.evaluation.labels, task.classes)

        reporter.step("latency")
        latency = host.latency(build, baseline, task, target)
        energy = host.energy_mj(build, target)
        layers = host.layers(build, target)
        coverage, doubtful = host.coverage(build), host.doubts(build)
    reporter.step("memory")
    return Profile(
        recipe=recipe,
        artifact_sha256=artifact.sha256,
        artifact_bytes=artifact.size_bytes,
        backend=artifact.backend,
        options=artifact.options,
        target=target.name,
        accuracy=accuracy,
        latency=latency,
        peak_memory_mb=host.peak_memory_mb(build, target),
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
        conditions=found,
        energy_mj=energy,
        warnings=(
            *(doubt for figure in latency if figure.source == "measured" for doubt in doubts(figure)),
            *doubtful,
        ),
    )
