"""Replacement of one node by several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from compress.onnx_graph.graph import Graph, replace_nodes

#: Since this opset the axes of ReduceMean are an input.
_AXES_AS_INPUT = 18


class Replacement:
    """Writer of the nodes that replace one node.

    Args:
        graph: Graph of the node; constants are added to it.
        node: Node to replace.

    Attributes:
        nodes: Nodes written so far, in order.
    """

    def __init__(self, graph: Graph, node: onnx.NodeProto) -> None:
        self.graph = graph
        self.node = node
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Write a node with one output, and return that output's name."""
        stem = self.node.name or self.node.output[0]
        name = f"{stem}_{operator.lower()}_{len(self.nodes)}"
        output = output or self.graph.free_name(name)
        self.nodes.append(helper.make_node(operator, inputs, [output], name, **attributes))
        return output

    def constant(self, values: Any, element_type: int = TensorProto.FLOAT) -> str:
        """Write an initialiser, and return its name."""
        array = np.asarray(values, helper.tensor_dtype_to_np_dtype(element_type))
        return self.graph.store(f"{self.node.output[0]}_constant", array)

    def mean(self, name: str, axes: Sequence[int]) -> str:
        """Write a mean over axes that stay, of size 1, as the graph's opset has it."""
        if self.graph.opset < _AXES_AS_INPUT:
            return self.add("ReduceMean", name, axes=list(axes), keepdims=1)
        return self.add("ReduceMean", name, self.constant(axes, TensorProto.INT64), keepdims=1)


def replace_each(
    model: onnx.ModelProto, operator: str, write: Callable[[onnx.NodeProto, Replacement], bool]
) -> list[str]:
    """Replace the nodes of one operator, in place.

    Args:
        model: Model with inferred types.
        operator: Type of the operator to replace, in the standard domain.
        write: Function that writes the replacement of a node; returning false leaves the node as it is.

    Returns:
        Names of the replaced nodes, of their first output where they have none.
    """
    graph = Graph(model)
    nodes: list[onnx.NodeProto] = []
    replaced = []
    for node in graph.nodes:
        replacement = Replacement(graph, node)
        if node.op_type == operator and node.domain in ("", "ai.onnx") and write(node, replacement):
            nodes += replacement.nodes
            replaced.append(str(node.name or node.output[0]))
        else:
            nodes.append(node)
    if replaced:
        replace_nodes(model, nodes)
    return replaced
