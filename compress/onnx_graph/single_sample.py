"""ONNX files that take one sample without an axis that counts samples, such as an image [height, width, 3]."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compress.core.tensor_spec import BATCH
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.widening import renamed

_AXES_ARE_INPUTS = 13  # from this opset on


def with_sample_axis(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that takes batches of one sample, and returns batches of one result, along axis 0.

    Args:
        model: Model, which is not changed.
    """
    batched = onnx.ModelProto()
    batched.CopyFrom(model)
    graph = Graph(batched)
    inputs = [value for value in batched.graph.input if value.name not in graph.initializers]
    outputs = list(batched.graph.output)
    inside = {value.name: graph.free_name(f"{value.name}_sample") for value in (*inputs, *outputs)}
    for node in batched.graph.node:
        renamed(node, inside)
    for tensor in batched.graph.initializer:  # an output that is a weight
        tensor.name = inside.get(tensor.name, tensor.name)
    axis = ""
    if graph.opset >= _AXES_ARE_INPUTS:
        axis = graph.free_name("axis_of_samples")
        batched.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), axis))
    before = [_along("Squeeze", value.name, inside[value.name], axis) for value in inputs]
    after = [_along("Unsqueeze", inside[value.name], value.name, axis) for value in outputs]
    nodes = [*before, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in batched.graph.node)]
    del batched.graph.node[:]
    batched.graph.node.extend([*nodes, *after])
    del batched.graph.value_info[:]  # names have changed
    for value in (*inputs, *outputs):
        _declare(value)
    return batched


def _along(operator: str, source: str, result: str, axis: str) -> onnx.NodeProto:
    if axis:
        return helper.make_node(operator, [source, axis], [result])
    return helper.make_node(operator, [source], [result], axes=[0])


def _declare(value: onnx.ValueInfoProto) -> None:
    """Declare one sample along axis 0, before the axes that it had."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return
    sample_shape = [
        dim.dim_value
        if dim.HasField("dim_value")
        else f"{value.name}_{axis}"
        if dim.dim_param in ("", BATCH)
        else dim.dim_param
        for axis, dim in enumerate(kind.shape.dim)
    ]
    kind.shape.CopyFrom(helper.make_tensor_type_proto(kind.elem_type, [1, *sample_shape]).tensor_type.shape)
