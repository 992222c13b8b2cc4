"""Constant folding: values that do not depend on the input are computed once, here."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.folding import (
    FOLDED_TYPES,
    Folding,
    constant_nodes,
    is_standard,
    values_of_constants,
)
from compress.onnx_graph.graph import Graph, attribute, replace_nodes, tensors_read
from compress.onnx_graph.weights import folder_of, stored


def fold_constants(model: onnx.ModelProto, store_twice: bool = False) -> None:
    """Replace Constant nodes, and nodes that depend on constants alone, by initialisers, in place.

    A result that is larger than what it is computed from stays a node, since runtimes compute it when they open the
    graph: zeros that channels are padded with, a mask, a copy of a weight that a loop's body reads as well.

    Args:
        model: Model with inferred shapes, which tell the types. ONNX Runtime computes the values, unoptimized.
        store_twice: Whether layers need their weights as constants, because these are quantized next: a weight may then
            be stored a second time as a node makes it (transposed, where one matrix is both embedding and last layer),
            and be larger than what it is made of.
    """
    _store_constants(model)
    graph = Graph(model)
    nodes = constant_nodes(graph)
    folded = Folding(graph, nodes, store_twice).folded
    names = [name for node in nodes if id(node) in folded for name in node.output if name]
    unfolded = [node for node in graph.nodes if id(node) not in folded]
    read = {name for node in unfolded for name in tensors_read(node)}
    constants = [name for name in names if name in read]
    values = values_of_constants(graph, constants)
    model.graph.initializer.extend(stored(name, values[name], folder_of(model)) for name in constants)
    replace_nodes(model, unfolded)


def fold_known_sizes(model: onnx.ModelProto) -> None:
    """Replace sizes that are read from a shape by constants where they are known, in place.

    That is Shape itself, and Gather or Slice of its result: exporters write ``x.shape[1] // 2`` so, and a shape
    that is only known when the network runs keeps compilers from planning ahead.

    Args:
        model: Model with inferred shapes.
    """
    graph = Graph(model)
    nodes_left = []
    for node in graph.nodes:
        sizes = _sizes_read(node, graph)
        if sizes is not None and _all_known(sizes) and node.output[0] not in graph.outputs:
            values = np.array(sizes.tolist(), np.int64)
            model.graph.initializer.append(stored(node.output[0], values, None))
        else:
            nodes_left.append(node)
    replace_nodes(model, nodes_left)


def _sizes_read(node: onnx.NodeProto, graph: Graph) -> NDArray[Any] | None:
    """Return the sizes (int), names (str) and None that the node reads from a shape; None where it reads none."""
    if node.op_type == "Shape":
        shape = graph.shape(node.input[0])
        axes = slice(attribute(node, "start", 0), attribute(node, "end"))
        return None if shape is None else np.array(shape, object)[axes]
    source = graph.producers.get(node.input[0]) if node.op_type in ("Gather", "Slice") else None
    sizes = _sizes_read(source, graph) if source is not None and source.op_type == "Shape" else None
    arguments = [graph.constant(name) for name in node.input[1:]]
    if sizes is None or any(argument is None for argument in arguments):
        return None
    if node.op_type == "Gather":
        return np.asarray(sizes[arguments[0]], object)
    start, end, *step = (int(argument.item()) for argument in arguments if argument is not None)
    return sizes[start : end : step[1] if len(step) > 1 else 1]


def _all_known(sizes: NDArray[Any]) -> bool:
    return all(isinstance(size, int) for size in sizes.reshape(-1).tolist())


def _store_constants(model: onnx.ModelProto) -> None:
    """Write Constant nodes as initialisers, in place, apart from those that are an output."""
    graph = Graph(model)
    nodes_left = []
    for node in graph.nodes:
        tensor = attribute(node, "value") if is_standard(node, "Constant") else None
        if tensor is None or node.output[0] in graph.outputs or tensor.data_type not in FOLDED_TYPES:
            nodes_left.append(node)
            continue
        model.graph.initializer.append(tensor)
        model.graph.initializer[-1].name = node.output[0]
        model.graph.initializer[-1].doc_string = ""
    replace_nodes(model, nodes_left)
