"""Bundles of small networks, without a run of the whole pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from compress.backends import load_backend
from compress.backends.tensorrt import build_script
from compress.bundle.programs import programs, take_sample
from compress.bundle.writing import write_bundle
from compress.recipe import Recipe
from compress.target.target import load_target
from tests.graphs import classifier
from tests.records import profile


def bundle(
    place: Path,
    backend: str,
    model: onnx.ModelProto | None = None,
    release: str = "10.3",
    share: float = 1e-3,
    states: Mapping[str, str] | None = None,
    **options: Any,
) -> Path:
    """A bundle at ``place / "build"``; ONNX Runtime answers the sample for TensorRT."""
    source = place / "source"
    source.mkdir(parents=True)
    runner = load_backend("onnxruntime" if backend == "tensorrt" else backend)
    artifact = runner.compile(model or classifier(), source, options)
    with runner.open(artifact) as session:
        sample = take_sample(session, None, share, narrow=release.startswith("8"))
        inputs, outputs = session.inputs, session.outputs
    further = sample.files() | programs(backend, inputs, sample, artifact.options, release, states=states)
    if backend == "tensorrt":
        # The board's own release decides about the options.
        import dataclasses

        target = dataclasses.replace(load_target("jetson"), tensorrt=release)
        further["build.sh"] = build_script(target, inputs, "fp32")
    manifest = {
        "artifact": {
            "file": "model.onnx",
            "sha256": artifact.sha256,
            "bytes": artifact.size_bytes,
            "backend": artifact.backend,
            "options": artifact.options,
        },
        "inputs": [spec.to_dict() for spec in inputs],
        "outputs": [spec.to_dict() for spec in outputs],
        "states": dict(states or {}),
        "sample": sample.to_dict(),
    }
    return write_bundle(place / "build", artifact.path, manifest, profile(), Recipe("fp32"), further)
