"""Networks made of matrix products, built by hand."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 64


def matrices(inputs: int = 80, *, seed: int = 0) -> onnx.ModelProto:
    """MatMul of ``inputs`` → 64 with Add, Relu, Gemm 64 → 48 (transposed weights), Gemm 48 → 4 without a bias."""
    random = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) / 8).astype(np.float32), name)

    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m1"], "first"),
        helper.make_node("Add", ["m1", "b1"], ["a1"], "add"),
        helper.make_node("Relu", ["a1"], ["r1"], "relu"),
        helper.make_node("Gemm", ["r1", "w2", "b2"], ["g2"], "second", transB=1),
        helper.make_node("Tanh", ["g2"], ["t2"], "tanh"),
        helper.make_node("Gemm", ["t2", "w3"], ["scores"], "third"),
    ]
    initializers = [
        weights("w1", inputs, WIDTH),
        weights("b1", WIDTH),
        weights("w2", 48, WIDTH),
        weights("b2", 48),
        weights("w3", 48, 4),
    ]
    return model_of(nodes, initializers, ["batch", inputs], ["batch", 4])


def model_of(
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto],
    taken: list[int | str],
    given: list[int | str],
) -> onnx.ModelProto:
    """A model from ``x`` to ``scores``, checked."""
    graph = helper.make_graph(
        nodes,
        "matrices",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, given)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def rows(count: int, inputs: int = 80, seed: int = 1) -> np.ndarray:
    """Inputs of :func:`matrices`, some columns much larger than others, as activations are."""
    random = np.random.default_rng(seed)
    sizes = np.where(np.arange(inputs) % 16 == 0, 8.0, 1.0)
    return (random.standard_normal((count, inputs)) * sizes).astype(np.float32)
