"""Weights that layers share, each with a node of its own that reads them, are stored once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress import quantize
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.sessions import open_session
from compress.onnx_graph.sharing import share_constants

_LAYERS, _WIDTH = 4, 48


def _shared(operator: str) -> onnx.ModelProto:
    """Layers of one weight, each of which reads it through an operator of its own."""
    random = np.random.default_rng(0)
    weight = (random.standard_normal((_WIDTH, _WIDTH)) / _WIDTH**0.5).astype(np.float32)
    nodes, tensor = [], "x"
    for layer in range(_LAYERS):
        nodes.append(helper.make_node(operator, ["weight"], [f"weight_{layer}"]))
        nodes.append(helper.make_node("MatMul", [tensor, f"weight_{layer}"], [f"product_{layer}"]))
        nodes.append(helper.make_node("Relu", [f"product_{layer}"], [f"layer_{layer}"]))
        tensor = f"layer_{layer}"
    graph = helper.make_graph(
        nodes, "shared",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, _WIDTH])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["batch", 3, _WIDTH])],
        [numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("operator", ["Identity", "Transpose"])
@pytest.mark.parametrize("store_twice", [False, True])
def test_a_weight_that_layers_share_is_stored_once(operator: str, store_twice: bool) -> None:
    model = _shared(operator)
    prepared = prepare(model, store_twice=store_twice)
    large = [tensor for tensor in prepared.graph.initializer if np.prod(tensor.dims) == _WIDTH**2]
    assert len(large) == 1
    assert [node.op_type for node in prepared.graph.node] == ["MatMul", "Relu"] * _LAYERS
    x = np.random.default_rng(1).standard_normal((2, 3, _WIDTH), np.float32)
    wanted, found = (open_session(each, optimized=False).run(None, {"x": x})[0] for each in (model, prepared))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("operator", ["Identity", "Transpose"])
def test_an_int8_weight_that_layers_share_is_stored_once(operator: str, tmp_path: Path) -> None:
    onnx.save(_shared(operator), tmp_path / "shared.onnx")
    x = np.random.default_rng(2).standard_normal((64, 3, _WIDTH), np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    result = quantize(tmp_path / "shared.onnx", data=tmp_path / "data.npz", out=tmp_path / "int8.onnx")
    weights = [
        tensor
        for tensor in onnx.load(result.path).graph.initializer
        if tensor.data_type == TensorProto.INT8 and np.prod(tensor.dims) == _WIDTH**2
    ]
    assert len(weights) == 1


def test_different_nodes_of_one_weight_stay_apart() -> None:
    model = _shared("Transpose")
    slices = [
        helper.make_node("Concat", ["weight", "weight"], ["wide"], axis=1),
        helper.make_node("Concat", ["weight", "weight"], ["tall"], axis=0),
        helper.make_node("Concat", ["weight", "weight"], ["wide_again"], axis=1),
        helper.make_node("MatMul", ["wide_again", "tall"], ["square"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(slices)
    model.graph.node.append(helper.make_node("MatMul", ["x", "square"], [f"layer_{_LAYERS - 1}"]))
    model = onnx.shape_inference.infer_shapes(model)
    share_constants(model)
    assert [node.output[0] for node in model.graph.node] == ["wide", "tall", "square", f"layer_{_LAYERS - 1}"]
    assert list(model.graph.node[2].input) == ["wide", "tall"]
