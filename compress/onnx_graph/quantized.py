"""Whether a graph computes in integers already."""

from __future__ import annotations

import onnx

_QUANTIZED = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
        "QGemm",
        "QLinearAdd",
        "MatMulNBits",
    }
)


def quantized_operator(model: onnx.ModelProto) -> str | None:
    """The first quantized operator of the main graph, or None in a float network."""
    return next((node.op_type for node in model.graph.node if node.op_type in _QUANTIZED), None)
