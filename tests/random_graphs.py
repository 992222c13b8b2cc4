"""Random small ONNX networks for property tests: what exporters write, in combinations nobody thought of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

SIDE = 8  # pixels of the input


class Builder:
    """Appends nodes to a graph whose first input is ``x``, float32 [batch, channels, 8, 8]."""

    def __init__(self, seed: int, channels: int, opset: int = 20) -> None:
        self.random = np.random.default_rng(seed)
        self.channels = channels
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.shapes = {"x": (channels, SIDE, SIDE)}

    def add(
        self, op_type: str, *inputs: str, shape: tuple[int, ...] | None = None, **attributes: object
    ) -> str:
        """A node's new output; its shape (without the batch) is the first input's unless it is given."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [name], name=f"{op_type}_{name}", **attributes)
        )
        self.shapes[name] = self.shapes[inputs[0]] if shape is None else shape
        return name

    def constant(self, values: np.ndarray) -> str:
        name = f"k{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def weights(self, *shape: int, scale: float | None = None) -> str:
        spread = scale if scale is not None else float(np.sqrt(2 / np.prod(shape[1:])))
        return self.constant((self.random.standard_normal(shape) * spread).astype(np.float32))

    def conv(self, name: str, width: int, kernel: int = 3, stride: int = 1, depthwise: bool = False) -> str:
        channels, height, breadth = self.shapes[name]
        width = channels if depthwise else width
        group = channels if depthwise else 1
        inputs = [name, self.weights(width, channels // group, kernel, kernel)]
        if self.random.random() < 0.7:
            inputs.append(self.weights(width, scale=0.2))
        shape = (width, -(-height // stride), -(-breadth // stride))
        return self.add(
            "Conv", *inputs, shape=shape, group=group, pads=[kernel // 2] * 4, strides=[stride, stride]
        )

    def batch_norm(self, name: str) -> str:
        channels = self.shapes[name][0]
        parameters = [self.random.uniform(0.5, 1.5, channels), self.random.normal(0, 0.2, channels)]
        parameters += [self.random.normal(0, 0.2, channels), self.random.uniform(0.5, 1.5, channels)]
        return self.add(
            "BatchNormalization", name, *(self.constant(each.astype(np.float32)) for each in parameters)
        )

    def relu(self, name: str) -> str:
        return self.add("Relu", name)

    def relu6(self, name: str) -> str:
        return self.add("Clip", name, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def hard_swish(self, name: str) -> str:
        return self.add("HardSwish", name)

    def leaky(self, name: str) -> str:
        return self.add("LeakyRelu", name, alpha=0.1)

    def sigmoid(self, name: str) -> str:
        return self.add("Sigmoid", name)

    def residual(self, name: str) -> str:
        inner = self.conv(self.relu(self.conv(name, self.shapes[name][0])), self.shapes[name][0])
        return self.add("Add", inner, name)

    def gate(self, name: str) -> str:
        channels = self.shapes[name][0]
        pooled = self.add("GlobalAveragePool", name, shape=(channels, 1, 1))
        return self.add("Mul", name, self.sigmoid(self.conv(pooled, channels, kernel=1)))

    def concat(self, name: str) -> str:
        other = self.conv(name, 4)
        channels, *rest = self.shapes[name]
        return self.add("Concat", name, other, axis=1, shape=(channels + 4, *rest))

    def max_pool(self, name: str) -> str:
        channels, height, width = self.shapes[name]
        return (
            self.add(
                "MaxPool", name, kernel_shape=[2, 2], strides=[1, 1], shape=(channels, height - 1, width - 1)
            )
            if min(height, width) > 1
            else name
        )

    def scale(self, name: str) -> str:
        factor = self.random.uniform(0.5, 2, (self.shapes[name][0], 1, 1)).astype(np.float32)
        return self.add("Mul", name, self.constant(factor))

    def identity(self, name: str) -> str:
        return self.add("Identity", name)

    def head(self, name: str, classes: int = 5) -> str:
        channels = self.shapes[name][0]
        axes = self.constant(np.array([2, 3], np.int64))
        flat = self.add("ReduceMean", name, axes, keepdims=0, shape=(channels,))
        return self.add(
            "Gemm",
            flat,
            self.weights(classes, channels),
            self.weights(classes, scale=0.1),
            transB=1,
            shape=(classes,),
        )

    def model(self, output: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", self.channels, SIDE, SIDE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", *self.shapes[output]])],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


_LAYERS: dict[str, Callable[[Builder, str], str]] = {
    "conv3": lambda builder, name: builder.conv(name, 8),
    "conv1": lambda builder, name: builder.conv(name, 16, kernel=1),
    "stride": lambda builder, name: builder.conv(name, 12, stride=2),
    "depthwise": lambda builder, name: builder.conv(name, 0, depthwise=True),
    "bn": Builder.batch_norm,
    "relu": Builder.relu,
    "relu6": Builder.relu6,
    "hardswish": Builder.hard_swish,
    "leaky": Builder.leaky,
    "residual": Builder.residual,
    "gate": Builder.gate,
    "concat": Builder.concat,
    "maxpool": Builder.max_pool,
    "scale": Builder.scale,
    "identity": Builder.identity,
}


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    """One to six random layers behind a first convolution, with or without a classifying head."""
    builder = Builder(draw(st.integers(0, 999)), draw(st.sampled_from([1, 3, 4])))
    name = builder.conv("x", draw(st.sampled_from([4, 8, 16])))
    for layer in draw(st.lists(st.sampled_from(sorted(_LAYERS)), min_size=1, max_size=6)):
        name = _LAYERS[layer](builder, name)
    return builder.model(builder.head(name) if draw(st.booleans()) else name)
