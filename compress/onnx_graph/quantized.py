"""Check whether a graph already computes in integers."""

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
    """Return the first quantized operator of the main graph; None in a float network."""
    return next((node.op_type for node in model.graph.node if node.op_type in _QUANTIZED), None)
