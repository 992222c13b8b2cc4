"""Small ONNX graphs over sequences of any length, built by hand."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 8


def recurrent(seed: int = 0) -> onnx.ModelProto:
    """MatMul → GRU → Gemm over ``x`` (batch, steps, 8), with its first state ``h0`` as an input and the last as output.

    A second input, ``length`` (batch), int64, scales the scores, so that the inputs are of two types.
    """
    random = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) * 0.3).astype(np.float32), name)

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["embedded"], "embed"),
        helper.make_node("Transpose", ["embedded"], ["steps"], "steps_first", perm=[1, 0, 2]),
        helper.make_node(
            "GRU", ["steps", "gru_w", "gru_r", "", "", "h0"], ["", "hn"], "gru", hidden_size=WIDTH
        ),
        helper.make_node("Squeeze", ["hn", "first"], ["last"], "last_state"),
        helper.make_node("Gemm", ["last", "head", "bias"], ["scores"], "head", transB=1),
        helper.make_node("Cast", ["length"], ["length_float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["length_float", "one"], ["column"], "column"),
        helper.make_node("Div", ["scores", "column"], ["scaled"], "scale"),
    ]

    def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "recurrent",
        [
            floats("x", "batch", "steps", WIDTH),
            floats("h0", 1, "batch", WIDTH),
            helper.make_tensor_value_info("length", TensorProto.INT64, ["batch"]),
        ],
        [floats("scaled", "batch", 4), floats("hn", 1, "batch", WIDTH)],
        [
            weights("w", WIDTH, WIDTH),
            weights("gru_w", 1, 3 * WIDTH, WIDTH),
            weights("gru_r", 1, 3 * WIDTH, WIDTH),
            weights("head", 4, WIDTH),
            weights("bias", 4),
            numpy_helper.from_array(np.array([0]), "first"),
            numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def sequences(*lengths: int, batch: int = 2) -> list[dict[str, np.ndarray]]:
    """A batch for each length, without the state."""
    random = np.random.default_rng(0)
    return [
        {
            "x": random.standard_normal((batch, length, WIDTH)).astype(np.float32),
            "length": np.full(batch, length),
        }
        for length in lengths
    ]
