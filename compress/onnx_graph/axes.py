"""Sizes of axes as files write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from compress.onnx_graph.graph import subgraphs


def open_negative_axes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Open the axes of a negative size in a model, in place.

    ONNX knows no negative size. Paddle's exporter wrote -1 for an open axis for years, and ONNX Runtime takes it so.

    Args:
        model: Model to change; bodies of If, Loop and Scan are changed too.

    Returns:
        The same model.
    """
    for value in _values(model.graph):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_value < 0:
                size.ClearField("dim_value")
    return model


def _values(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.HasField("tensor_type"):  # asking for another's would make it one
            yield value
    for node in graph.node:
        for body in subgraphs(node):
            yield from _values(body)


def open_length(model: onnx.ModelProto, length: int, shapes: Mapping[str, Sequence[int | str]]) -> None:
    """Open the axes of one length in a model exported for it, in place; it may not compute other lengths.

    Args:
        model: Model exported for sequences of this length.
        length: Length that no other axis in the model has.
        shapes: Shapes of its inputs and outputs, by name; a name for each axis that is opened.
    """
    del model.graph.value_info[:]  # they hold the one length
    for value in (*model.graph.input, *model.graph.output):
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if isinstance(size, str):
                dim.dim_param = size
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        target = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if target is None:
            continue
        sizes = numpy_helper.to_array(target)
        if length in sizes and 0 not in sizes:
            # 0 takes the size of the same axis of the input.
            any_length = numpy_helper.from_array(
                np.where(sizes == length, 0, sizes), f"{node.output[0]}_any_length"
            )
            model.graph.initializer.append(any_length)
            node.input[1] = any_length.name
            for attribute in [entry for entry in node.attribute if entry.name == "allowzero"]:
                node.attribute.remove(attribute)
