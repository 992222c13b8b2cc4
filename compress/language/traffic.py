"""Bytes of weights that one step of a decoder reads from memory: where memory is the limit, they are its time.

A step reads every matrix whole, whatever the number of texts, but of the embedding and of the tables of positions only
a row for each token, and of the experts those that a token is sent to. The cache comes on top: each text reads its keys
and values of all tokens before.
"""

from __future__ import annotations

import math
from pathlib import Path

import onnx

from compress.onnx_graph.graph import Graph, attribute

#: Bits of types that are no whole bytes.
_BITS = {onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4}


def weight_bytes(path: Path) -> int:
    """Return the bytes of weights that a decoder reads for one step of one text; weights beside the graph count too.

    Args:
        path: ONNX file of the decoder.
    """
    graph = Graph(onnx.load(path, load_external_data=False))
    total = 0
    for name, tensor in graph.initializers.items():
        size = math.prod(tensor.dims) * _bits(tensor.data_type) // 8
        rows = tensor.dims[0] if tensor.dims else 1
        read = 1 if _by_rows(graph, name) else min(_chosen(graph, name) or rows, rows)
        total += size * read // max(rows, 1)
    return total


def _chosen(graph: Graph, name: str) -> int | None:
    """Return the number of experts whose weights a step of one text reads; None where a tensor is of no experts."""
    readers = graph.consumers.get(name, [])
    if not readers or any(node.op_type not in ("MoE", "QMoE") for node in readers):
        return None
    return max(int(attribute(node, "k", 1)) for node in readers)


def _bits(kind: int) -> int:
    return _BITS.get(kind) or 8 * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _by_rows(graph: Graph, name: str) -> bool:
    """Whether all that read a tensor take single rows of it."""
    return all(
        _by_rows(graph, node.output[0])
        if node.op_type == "Reshape"
        else node.op_type in ("Gather", "GatherBlockQuantized")
        or (node.op_type == "GroupQueryAttention" and name in node.input[7:9])
        for node in graph.consumers.get(name, [])
    )
