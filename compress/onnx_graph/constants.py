"""Constant folding: compute once, here, what does not depend on the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from compress.onnx_graph.graph import Graph, attribute, replace_nodes, subgraphs
from compress.onnx_graph.sessions import open_session, part
from compress.onnx_graph.weights import folder_of, size_of_tensor, stored

#: Bytes by which a folded tensor may outgrow what it is computed from; a larger broadcast stays a node.
MOST_GROWTH = 1 << 20

# Random values are new in every run; folding the other two would undo a quantization.
_NOT_FOLDED = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
) | {"QuantizeLinear", "DequantizeLinear"}
_FOLDED_TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL}
    | {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64}
    | {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}
)


def fold_constants(model: onnx.ModelProto, store_twice: bool = False) -> None:
    """Replace Constant nodes, and nodes that depend on constants alone, by initialisers, in place.

    Args:
        model: With inferred shapes, which tell the types. ONNX Runtime computes the values, unoptimized.
        store_twice: Whether a large constant that others read as it is may be stored a second time as a node makes
            it: transposed, where one matrix is both embedding and last layer.
    """
    graph = Graph(model)
    values = _values(graph, _constant_nodes(graph))
    sizes = {name: size_of_tensor(tensor) for name, tensor in graph.initializers.items()}
    kept = []
    for node in graph.nodes:
        read = [name for name in node.input if name]
        made = [name for name in node.output if name]
        if all(name in values for name in made) and all(name in sizes for name in read):
            goes = [name for name in read if store_twice or graph.only_consumer(name) is not None]
            growth = sum(values[name].nbytes for name in made) - sum(sizes[name] for name in goes)
            if node.op_type == "Constant" or growth <= MOST_GROWTH:
                sizes.update((name, values[name].nbytes) for name in made)
                folder = folder_of(model)
                model.graph.initializer.extend(stored(name, values[name], folder) for name in made)
                continue
        kept.append(node)
    replace_nodes(model, kept)


def fold_known_sizes(model: onnx.ModelProto) -> None:
    """Replace what is read off a shape by constants, wherever the sizes read are known, in place.

    That is Shape itself, and Gather or Slice of its result: exporters write ``x.shape[1] // 2`` so, and a shape
    that is only known when the network runs keeps compilers from planning ahead.

    Args:
        model: With inferred shapes.
    """
    graph = Graph(model)
    kept = []
    for node in graph.nodes:
        sizes = _sizes_read(node, graph)
        if sizes is not None and _all_known(sizes) and node.output[0] not in graph.outputs:
            values = np.array(sizes.tolist(), np.int64)
            model.graph.initializer.append(stored(node.output[0], values, None))
        else:
            kept.append(node)
    replace_nodes(model, kept)


def _sizes_read(node: onnx.NodeProto, graph: Graph) -> NDArray[Any] | None:
    """Sizes (int), names (str) and None that the node reads off a shape; None where it reads something else."""
    if node.op_type == "Shape":
        shape = graph.shape(node.input[0])
        axes = slice(attribute(node, "start", 0), attribute(node, "end"))
        return None if shape is None else np.array(shape, object)[axes]
    source = graph.producers.get(node.input[0]) if node.op_type in ("Gather", "Slice") else None
    whole = _sizes_read(source, graph) if source is not None and source.op_type == "Shape" else None
    arguments = [graph.constant(name) for name in node.input[1:]]
    if whole is None or any(argument is None for argument in arguments):
        return None
    if node.op_type == "Gather":
        return np.asarray(whole[arguments[0]], object)
    start, end, *rest = (int(argument.item()) for argument in arguments if argument is not None)
    return whole[start : end : rest[1] if len(rest) > 1 else 1]


def _all_known(sizes: NDArray[Any]) -> bool:
    return all(isinstance(size, int) for size in sizes.reshape(-1).tolist())


def _constant_nodes(graph: Graph) -> list[onnx.NodeProto]:
    known = set(graph.initializers)
    nodes = []
    for node in graph.nodes:
        if all(name in known for name in node.input if name) and _can_fold(node, graph):
            nodes.append(node)
            known.update(node.output)
    return nodes


def _can_fold(node: onnx.NodeProto, graph: Graph) -> bool:
    made = [name for name in node.output if name]
    return (
        node.op_type not in _NOT_FOLDED
        and node.domain in ("", "ai.onnx")
        and not any(subgraphs(node))
        and all(graph.element_type(name) in _FOLDED_TYPES for name in made)
        # An output that is an initialiser is legal, and several compilers still refuse it.
        and not set(made) & set(graph.outputs)
    )


def _values(graph: Graph, nodes: list[onnx.NodeProto]) -> dict[str, NDArray[Any]]:
    """What the nodes compute, by tensor name."""
    made = [name for node in nodes for name in node.output if name]
    if not made:
        return {}
    session = open_session(part(graph, made), optimized=False)
    return dict(zip(made, session.run(made, {}), strict=True))
