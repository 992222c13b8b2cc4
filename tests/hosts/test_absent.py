"""A target that is not at hand: the graph is run here as its runtime would, and not as ONNX Runtime likes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compress.backends import load_backend
from compress.backends.base import Artifact
from compress.hosts.absent import AbsentHost
from compress.hosts.base import Host
from compress.target import load_target


@pytest.mark.parametrize(("target", "fused"), [("jetson", False), ("raspberry-pi-5", True)])
def test_only_tensorrt_graphs_run_without_fusions_of_their_quantization(
    target: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Artifact] = []
    monkeypatch.setattr(Host, "open", lambda self, artifact, target: opened.append(artifact))
    options: dict[str, Any] = {"provider": "CPUExecutionProvider", "qdq_fusion": True}
    artifact = Artifact(Path("model.onnx"), "sha", 1, "onnxruntime", options)
    AbsentHost(load_backend("onnxruntime")).open(artifact, load_target(target))
    assert opened[0].options["qdq_fusion"] is fused
    assert artifact.options["qdq_fusion"] is True
