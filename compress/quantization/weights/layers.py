"""Matrix products of an ONNX graph that can hold integer weights, and why the others cannot."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph, attribute


@dataclass(frozen=True)
class Layer:
    """One weight matrix and the nodes that multiply by it.

    Attributes:
        nodes: Names of the nodes, in the order they run.
        input: Name of the tensor that the first of them multiplies.
        initializer: Name of the weight.
        weight: Weight, float32 [outputs, inputs], in whatever layout the graph stores it.
    """

    nodes: tuple[str, ...]
    input: str
    initializer: str
    weight: NDArray[np.float32]


def find_layers(
    graph: Graph, group_size: int, excluded: Collection[str] = ()
) -> tuple[list[Layer], dict[str, str]]:
    """Return the layers to quantize, in the order they run, and why every other matrix product stays float."""
    layers: list[Layer] = []
    reasons: dict[str, str] = {}
    by_weight: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
            continue
        reason = _obstacle(node, graph, group_size, excluded)
        if reason is None:
            by_weight.setdefault(node.input[1], []).append(node)
        else:
            reasons[node.name] = reason
    for name, nodes in by_weight.items():
        reason = _not_alone(name, nodes, graph)
        if reason is not None:
            reasons |= {node.name: reason for node in nodes}
            continue
        weight = _by_output(nodes[0], graph)
        layers.append(Layer(tuple(node.name for node in nodes), nodes[0].input[0], name, weight))
    return layers, reasons


def as_stored(layer: Layer, weight: NDArray[np.float32], graph: Graph) -> NDArray[np.float32]:
    """Return a weight [outputs, inputs] in the layout in which the graph stores the layer's."""
    node = next(node for node in graph.consumers[layer.initializer] if node.name in layer.nodes)
    return np.ascontiguousarray(weight if _input_axis(node) == 1 else weight.T)


def _obstacle(node: onnx.NodeProto, graph: Graph, group_size: int, excluded: Collection[str]) -> str | None:
    weight = graph.constant(node.input[1])
    if node.name in excluded:
        return "excluded by the recipe"
    if weight is None or weight.ndim != 2:
        return "its second operand is no constant matrix"
    if weight.dtype != np.float32:
        return f"its weights are {weight.dtype}"
    if node.op_type == "Gemm" and (
        attribute(node, "transA", 0)
        or attribute(node, "alpha", 1.0) != 1
        or attribute(node, "beta", 1.0) != 1
    ):
        return "its operands are scaled or transposed"
    if not np.isfinite(weight).all():
        return "its weights are not finite"
    if _routes_tokens(node, graph):
        return "it chooses experts, and is small"
    inputs = weight.shape[_input_axis(node)]
    if inputs < group_size:
        return f"its {inputs} inputs are fewer than a group of {group_size}"
    return None


def _not_alone(name: str, nodes: list[onnx.NodeProto], graph: Graph) -> str | None:
    """Return why packing a weight would not make the file smaller, or would be ambiguous; None otherwise."""
    if name in graph.outputs or len(graph.consumers[name]) > len(nodes):
        return "its weights are read by other operators too"
    if any(node.input[0] == name for node in nodes) or len({_input_axis(node) for node in nodes}) > 1:
        return "its weights are used in two ways"
    return None


def _input_axis(node: onnx.NodeProto) -> int:
    return 1 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 0


def _by_output(node: onnx.NodeProto, graph: Graph) -> NDArray[np.float32]:
    weight = np.asarray(graph.constant(node.input[1]), np.float32)
    return np.ascontiguousarray(weight if _input_axis(node) == 1 else weight.T)


def _routes_tokens(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether what a node makes says which experts a token is sent to."""
    return any(
        (reader.op_type == "MoE" and reader.input[1] == node.output[0])
        or (reader.op_type == "Reshape" and _routes_tokens(reader, graph))
        for reader in graph.consumers.get(node.output[0], [])
    )
