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
        macs[length] = sum(layer.macs for layer in original.layers)
    assert macs == {50: 50 * 64 * 64, 100: 100 * 64 * 64}


def test_a_float_bias_is_added_as_it_is(tmp_path: Path) -> None:
    """ONNX Runtime's fusions make it a number of 32 bits in steps of both scales: here 5 would need 5e10 of them."""
    weights = {
        "w": np.full((8, 4, 3, 3), 100, np.int8),
        "ws": np.full(8, 1e-5, np.float32),
        "b": np.full(8, 5, np.float32),
        "xs": np.array(1e-5, np.float32),
        "ys": np.array(0.05, np.float32),
        "z": np.array(0, np.int8),
        "wz": np.zeros(8, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "xs", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"], axis=0),
        helper.make_node("Conv", ["d", "v", "b"], ["c"], name="conv"),
        helper.make_node("QuantizeLinear", ["c", "ys", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "ys", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [1, 8, 6, 6])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    path = save_model(model, tmp_path / "model.onnx")
    artifact = Artifact(path, "sha", 1, "onnxruntime", {})
    with AbsentHost(load_backend("onnxruntime")).open(artifact, load_target("jetson")) as session:
        found = session.run({"x": np.full((1, 4, 8, 8), 1e-3, np.float32)})[0]
    np.testing.assert_allclose(found, 5, atol=0.06)
