"""Real ONNX files, data and a recorded profile, each built once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compress.backends import load_backend
from compress.backends.base import Artifact
from compress.bundle.profile_file import with_digest
from compress.data.task import load_task
from compress.machine.machine import fingerprint
from compress.onnx_graph.files import save_model, sha256_of, size_of
from compress.profiling.accuracy import accuracy_of, outcomes_of
from compress.profiling.latency import Budget, sample_feeds
from compress.records.profile import Profile
from compress.timing.processes import stored_feeds
from compress.timing.solo import time_alone
from tests.graphs import classifier, samples


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, data labelled by the first of them, and its profile."""
    from onnx.reference import ReferenceEvaluator

    directory = tmp_path_factory.mktemp("gate")
    x = samples(800)
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": x})
    y = scores.argmax(1).astype(np.int64)
    np.savez(directory / "val.npz", x=x, y=y)
    np.savez(directory / "grouped.npz", x=x, y=y, groups=np.where(np.arange(800) % 2, "night", "day"))
    np.savez(directory / "other.npz", x=samples(800, seed=7), y=y)
    broken = classifier()
    broken.graph.initializer[4].raw_data = onnx.numpy_helper.to_array(broken.graph.initializer[4])[
        ::-1
    ].tobytes()
    networks = {
        "main": classifier(),
        "broken": broken,
        "wide": classifier(channels=64),
        "five_classes": classifier(classes=5),
        "fixed": classifier(batch=4),
    }
    for name, network in networks.items():
        save_model(network, directory / f"{name}.onnx")
    (directory / "main.json").write_text(json.dumps(with_digest(recorded(directory))))
    return directory


def recorded(room: Path) -> Profile:
    """What ``compress profile main.onnx --data val.npz --out main.json`` records, measured in less time."""
    path = room / "main.onnx"
    backend = load_backend("onnxruntime")
    options = {"intra_op_threads": 1}
    artifact = Artifact(path, sha256_of(path), size_of(path), "onnxruntime", options)
    with backend.open(artifact) as session:
        task = load_task(room / "val.npz").bind(session.inputs, session.outputs)
        outcomes = outcomes_of(session, task)
        feeds = {1: sample_feeds(session, task)}
    with stored_feeds(feeds) as paths:
        ((latency,), _) = time_alone(artifact, feeds, paths, Budget(seconds=0.05))
    return Profile(
        recipe="main",
        artifact_sha256=artifact.sha256,
        artifact_bytes=artifact.size_bytes,
        backend="onnxruntime",
        options=options,
        target="cpu",
        accuracy=accuracy_of(outcomes, None, task.evaluation.sha256),
        latency=(latency,),
        peak_memory_mb=None,
        coverage=None,
        fingerprint=fingerprint(),
        versions={},
        outcomes=tuple(float(value) for value in outcomes[0].values),
    )
