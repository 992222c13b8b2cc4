"""The precision of a graph, for runtimes that must be told."""

from __future__ import annotations

from pathlib import Path


def precision_of(path: Path) -> str:
    """Return the precision of an ONNX file: ``int8`` with Q/DQ, ``fp16`` with weights of that type, else ``fp32``."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    if any(node.op_type == "QuantizeLinear" for node in graph.node):
        return "int8"
    half = onnx.TensorProto.FLOAT16
    return "fp16" if any(tensor.data_type == half for tensor in graph.initializer) else "fp32"
