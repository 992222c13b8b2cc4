"""Sizes of axes as files write them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from compress.onnx_graph.graph import subgraphs


def open_negative_axes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, changed in place, whose axes of a negative size are open.

    ONNX knows no negative size. Paddle's exporter wrote -1 for an open axis for years, and ONNX Runtime takes it so.

    Args:
        model: Any model; bodies of If, Loop and Scan are changed too.

    Returns:
        The model that was given.
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
