"""Sharing of values computed from constants: a weight that several layers share is stored once.

Exporters write layers that share their weights (ALBERT's, and every tied pair) with a node of its own for each that
reads one: Identity, or the same Transpose again and again. Folded one by one, each would become a weight of its own.
"""

from __future__ import annotations

import hashlib
import math

import onnx

from compress.onnx_graph.folding import constant_nodes
from compress.onnx_graph.graph import SMALL, Graph, replace_nodes, subgraphs


def share_constants(model: onnx.ModelProto) -> None:
    """Keep one of the nodes that compute the same large tensor of the same constants, and no Identity of one, in place.

    Args:
        model: Model with inferred shapes.
    """
    graph = Graph(model)
    constant = {id(node) for node in constant_nodes(graph) if _is_large(node, graph)}
    renamed: dict[str, str] = {}
    first: dict[str, onnx.NodeProto] = {}
    nodes_left = []
    for node in graph.nodes:
        _rename_inputs(node, renamed)
        if id(node) not in constant:
            nodes_left.append(node)
        elif node.op_type == "Identity":
            renamed[node.output[0]] = node.input[0]
        else:
            other = first.setdefault(_what_it_computes(node), node)
            if other is node:
                nodes_left.append(node)
            else:
                renamed.update(zip(node.output, other.output, strict=True))
    if renamed:
        replace_nodes(model, nodes_left)


def _is_large(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether a node makes from constants one that is large enough for sharing to matter."""
    if not node.input:
        return False
    for name in filter(None, node.output):
        sizes = [size for size in graph.shape(name) or () if isinstance(size, int)]
        if len(sizes) == graph.rank(name) and math.prod(sizes) > SMALL:
            return True
    return False


def _what_it_computes(node: onnx.NodeProto) -> str:
    digest = hashlib.sha256()
    for part in (
        node.domain,
        node.op_type,
        *node.input,
        *("named" if name else "" for name in node.output),
        *sorted(entry.SerializeToString(deterministic=True).hex() for entry in node.attribute),
    ):
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


def _rename_inputs(node: onnx.NodeProto, renamed: dict[str, str]) -> None:
    node.input[:] = [renamed.get(name, name) for name in node.input]
    for body in subgraphs(node):
        for inner in body.node:
            _rename_inputs(inner, renamed)
