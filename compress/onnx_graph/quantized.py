"""Check whether a graph already computes in integers."""

from __future__ import annotations

import onnx

from compress.onnx_graph.operators import operator_of


def quantized_operator(model: onnx.ModelProto) -> str | None:
    """Return the first quantized operator of the main graph; None in a float network."""
    return next((node.op_type for node in model.graph.node if operator_of(node).quantization), None)
