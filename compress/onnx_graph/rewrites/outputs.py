"""Removal of outputs of operators that no node reads."""

from __future__ import annotations

import onnx

from compress.onnx_graph.graph import Graph


def remove_unused_outputs(model: onnx.ModelProto) -> list[str]:
    """Leave out the last outputs of operators where nobody reads them and ONNX lets them be left out, in place.

    Exporters write the indices of MaxPool and the statistics of LayerNormalization whether they are read or not.
    """
    graph = Graph(model)
    changed = []
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
            continue
        least = onnx.defs.get_schema(node.op_type, graph.opset).min_output
        before = len(node.output)
        while len(node.output) > least and not _is_read(node.output[-1], graph):
            del node.output[-1]
        if len(node.output) < before:
            changed.append(str(node.name or node.output[0]))
    return changed


def _is_read(name: str, graph: Graph) -> bool:
    return bool(name) and (name in graph.outputs or bool(graph.consumers.get(name)))
