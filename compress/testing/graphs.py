"""Small ONNX graphs for tests, built by hand so that no exporter is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def classifier(
    seed: int = 0, channels: int = 8, batch: int | str = "batch", classes: int = 4
) -> onnx.ModelProto:
    """Conv → Relu → Conv → Relu → GlobalAveragePool → Flatten → Gemm on 3×8×8."""
    random = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        values = (
            random.standard_normal(shape) * np.sqrt(2 / fan_in)
            if len(shape) > 1
            else random.normal(0, 0.1, shape)
        )
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, classes])],
        [
            weights("w1", channels, 3, 3, 3),
            weights("b1", channels),
            weights("w2", channels, channels, 3, 3),
            weights("b2", channels),
            weights("w3", classes, channels),
            weights("b3", classes),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def steps_first(steps: int | str = 5) -> onnx.ModelProto:
    """Samples along axis 0 of ``x`` [batch, steps, 4], and along axis 1 of what it gives, [steps, batch, 4]."""
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["x"], ["moved"], "transpose", perm=[1, 0, 2]),
            helper.make_node("Relu", ["moved"], ["y"], "relu"),
        ],
        "steps_first",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", steps, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [steps, "batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def two_inputs() -> onnx.ModelProto:
    """Left · right, elementwise, on four numbers each."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["left", "right"], ["product"], "mul")],
        "two_inputs",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("left", "right")],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, ["batch", 4])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def samples(count: int, seed: int = 0) -> NDArray[Any]:
    """Inputs of :func:`classifier`: float32 ``(count, 3, 8, 8)``."""
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)
