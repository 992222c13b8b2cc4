"""Models in ONNX's textual form, and what is read off their layers."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser

from compress.onnx_graph.layers import Layer, layers


def model(body: str, opset: int = 20, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """A model from ONNX's textual form, with float32 weights of ones."""
    parsed = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}, "custom": 1]> {body}')
    for name, shape in weights.items():
        parsed.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return parsed


QDQ = """
    xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
    wd = DequantizeLinear(wq, s, z)
    c = Conv(xd, wd) r = Relu(c)
    rq = QuantizeLinear(r, s, z) rd = DequantizeLinear(rq, s, z)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(rd)
    y = Conv(m, wd)
"""


def quantized(body: str) -> onnx.ModelProto:
    network = model(
        f"g (float[1,4,8,8] x) => (float y) <float s = {{0.1}}, int8 z = {{0}}> {{ {body} }}", w=(4, 4, 1, 1)
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 4, 1, 1), np.int8), "wq"))
    return network


def only(found: list[Layer]) -> Layer:
    (layer,) = found
    return layer


def labels(network: onnx.ModelProto) -> list[str]:
    return [layer.label for layer in layers(network)]
