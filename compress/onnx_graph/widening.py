"""Half precision made float32: every float16 and bfloat16 tensor of a graph, but its inputs and outputs.

Weights lose nothing by it. Techniques then see the network that was trained, and half precision is one of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from onnx import AttributeProto, TensorProto, helper

from compress.onnx_graph.graph import Graph, graphs, subgraphs
from compress.onnx_graph.quantized import quantized_operator
from compress.onnx_graph.weights import folder_of, stored, values_of

_HALF = frozenset({int(TensorProto.FLOAT16), int(TensorProto.BFLOAT16)})
_FLOAT = int(TensorProto.FLOAT)

#: Attributes that name the type of what an operator makes or computes in.
_TYPES = frozenset({"to", "dtype", "output_datatype", "output_dtype", "stash_type", "softmax_precision"})


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network of half precision in float32, except inputs and outputs; quantized and others unchanged.

    Half precision is a technique of its own, and no other technique starts from it.
    """
    if quantized_operator(model) is not None:
        return model
    inlined = onnx.inliner.inline_local_functions(model) if model.functions else model
    return widened(inlined) if is_half(inlined) else model


def is_half(model: onnx.ModelProto) -> bool:
    """Whether a graph holds weights in half precision, or takes or casts to it."""
    for graph in graphs(model.graph):
        if any(tensor.data_type in _HALF for tensor in graph.initializer):
            return True
        if any(value.type.tensor_type.elem_type in _HALF for value in graph.input):
            return True
        for node in graph.node:
            if any(_names_half(entry) for entry in node.attribute):
                return True
    return False


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that computes in float32, with the same inputs and outputs.

    Args:
        model: Model without local functions; its large weights may lie in files.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    edges = _edges(wide)
    folder = folder_of(model)
    for graph in graphs(wide.graph):
        _widen(graph, folder)
    _cast_at_edges(wide, edges)
    return wide


def _edges(model: onnx.ModelProto) -> dict[str, int]:
    """Return inputs and outputs in half precision, by name, with their type."""
    weights = {tensor.name for tensor in model.graph.initializer}
    values = [*(value for value in model.graph.input if value.name not in weights), *model.graph.output]
    kinds = {value.name: int(value.type.tensor_type.elem_type) for value in values if _is_tensor(value)}
    return {name: kind for name, kind in kinds.items() if kind in _HALF}


def _widen(graph: onnx.GraphProto, folder: Path | None) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor, folder)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _widen_type(value.type)
    for node in graph.node:
        for entry in node.attribute:
            if entry.type == AttributeProto.TENSOR:
                _widen_tensor(entry.t, None)
            elif _names_half(entry):
                entry.i = _FLOAT


def _widen_tensor(tensor: TensorProto, folder: Path | None) -> None:
    if tensor.data_type in _HALF:
        name = tensor.name
        tensor.CopyFrom(stored(name, values_of(tensor).astype(np.float32), folder))


def _widen_type(kind: onnx.TypeProto) -> None:
    which = kind.WhichOneof("value")
    if which == "tensor_type" and kind.tensor_type.elem_type in _HALF:
        kind.tensor_type.elem_type = _FLOAT
    elif which in ("sequence_type", "optional_type"):
        _widen_type(getattr(kind, which).elem_type)


def _cast_at_edges(model: onnx.ModelProto, edges: dict[str, int]) -> None:
    """Give inputs and outputs their own types again, with casts between them and the float32 inside."""
    graph = Graph(model)
    inside = {name: graph.free_name(f"{name}_float32") for name in edges}
    for node in model.graph.node:
        renamed(node, inside)
    before, after = [], []
    for value in model.graph.input:
        if value.name in edges:
            value.type.tensor_type.elem_type = edges[value.name]
            before.append(helper.make_node("Cast", [value.name], [inside[value.name]], to=_FLOAT))
    for value in model.graph.output:
        if value.name not in edges:
            continue
        value.type.tensor_type.elem_type = edges[value.name]
        if value.name in graph.initializers:  # an output that is a weight
            weight = graph.initializers[value.name]
            weight.name = inside[value.name]
        if value.name not in graph.inputs:
            to = edges[value.name]
            after.append(helper.make_node("Cast", [inside[value.name]], [value.name], to=to))
    nodes = [*before, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *after])


def renamed(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Give values other names in a node and in the bodies of its loops and branches; the node is changed."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for body in subgraphs(node):
        inner_names = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        inner_names.update(name for inner in body.node for name in inner.output)
        outer = {name: new for name, new in names.items() if name not in inner_names}
        for inner in body.node:
            renamed(inner, outer)
        for value in body.output:
            value.name = outer.get(value.name, value.name)


def _names_half(entry: AttributeProto) -> bool:
    return entry.name in _TYPES and entry.type == AttributeProto.INT and entry.i in _HALF


def _is_tensor(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.WhichOneof("value") == "tensor_type")
