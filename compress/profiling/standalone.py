"""The profile of a build that exists already: a bundle, or an ONNX file from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.backends import load_backend
from compress.backends.base import Artifact
from compress.bundle import load_bundle
from compress.errors import BundleError
from compress.hosts.base import batch_sizes
from compress.hosts.machine import fingerprint
from compress.onnx_graph.files import sha256_of, size_of
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.profiling.latency import measure_latency, sample_feeds
from compress.profiling.memory import peak_memory_mb
from compress.progress import Reporter
from compress.record import Profile
from compress.target import load_target
from compress.versions import versions

if TYPE_CHECKING:
    from compress.task import Task


def profile_artifact(
    path: Path,
    *,
    target: str = "cpu",
    task: Task | None = None,
    threads: int | None = None,
    batches: Sequence[int] = (),
    reporter: Reporter | None = None,
) -> Profile:
    """Measure an artifact on this machine.

    Args:
        path: A bundle's directory, or an ONNX file.
        target: For session options and batch sizes; it must be this machine.
        task: Evaluation data; None measures latency alone, on seeded noise.
        threads: Threads of the runtime; None takes the bundle's, or every core.
        batches: Batch sizes; none takes the target's.
        reporter: Receives the progress.

    Raises:
        BundleError: There is no artifact at ``path``, or it is damaged.
        UnavailableError: The back end is not installed here.
        DataError: The data does not fit, or the network takes none of the batch sizes.
    """
    reporter = reporter or Reporter()
    deployment = load_target(target)
    backend = load_backend("onnxruntime")
    if path.is_dir():
        bundle = load_bundle(path)
        name, artifact = bundle.recipe.name, bundle.artifact
        if threads is not None:
            artifact = replace(artifact, options={**artifact.options, "intra_op_threads": threads})
    elif path.is_file():
        name, options = path.stem, backend.default_options(deployment, threads)
        artifact = Artifact(path, sha256_of(path), size_of(path), backend.name, options)
    else:
        raise BundleError("a bundle or an ONNX file", f"nothing at {path}", "correct the path")

    reporter.stage("measuring")
    with backend.open(artifact) as session:
        sizes = tuple(batches) or batch_sizes(session, deployment)
        accuracy, outcomes = None, np.empty(0)
        if task is not None:
            task = task.bind(session.inputs, session.outputs)
            outcomes = outcomes_of(session, task)
            accuracy = accuracy_of(outcomes, None, task.metric, task.evaluation.sha256)
        latency = tuple(
            measure_latency(session, sample_feeds(session, task, batch), batch) for batch in sizes
        )
    return Profile(
        recipe=name,
        artifact_sha256=artifact.sha256,
        artifact_bytes=artifact.size_bytes,
        backend=artifact.backend,
        options=artifact.options,
        target=deployment.name,
        accuracy=accuracy,
        latency=latency,
        peak_memory_mb=peak_memory_mb(artifact, sizes[0]),
        coverage=backend.coverage(artifact),
        fingerprint=fingerprint(),
        versions=versions(),
        outcomes=tuple(float(value) for value in outcomes),
    )
