"""A target that is not at hand: the graph is run here as its runtime would, and not as ONNX Runtime likes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from compress import optimize
from compress.backends import load_backend
from compress.backends.base import Artifact
from compress.hosts.absent import AbsentHost
from compress.hosts.base import Host
from compress.onnx_graph.files import save_model
from compress.target.target import load_target


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


def test_open_axes_are_estimated_at_the_length_of_the_data(tmp_path: Path) -> None:
    """Beside the batch the file leaves the length open; twice the length is twice the work."""
    values = [helper.make_tensor_value_info(name, 1, ["batch", "length", 64]) for name in "xy"]
    weight = numpy_helper.from_array(
        np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32), "w"
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weight]
    )
    save_model(helper.make_model(graph, ir_version=10), tmp_path / "open.onnx")
    macs = {}
    for length in (50, 100):
        x = np.random.default_rng(1).standard_normal((40, length, 64)).astype(np.float32)
        np.savez(tmp_path / f"{length}.npz", x=x)
        result = optimize(
            tmp_path / "open.onnx",
            data=tmp_path / f"{length}.npz",
            target="jetson",
            out=tmp_path / f"b{length}",
        )
        original = result.candidates[0].profile
        assert original is not None
        assert original.latency[0].source == "estimated"
        macs[length] = sum(layer["macs"] for layer in original.layers)
    assert macs == {50: 50 * 64 * 64, 100: 100 * 64 * 64}
