"""Multiply-accumulate operations (MACs) of one run of an operator, a formula for each form of matrix product.

A formula takes a node and a function from a tensor's name to its shape; it gives None where a shape is unknown.
The convention is the literature's: ResNet-18 at 224×224 is 1.81 GMACs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx

from compress.onnx_graph.graph import attribute

Shape = tuple[int, ...]
ShapeOf = Callable[[str], Shape | None]
Formula = Callable[[onnx.NodeProto, ShapeOf], int | None]


def convolution(weight: int = 1) -> Formula:
    """Return the formula of a convolution whose weight [channels out, channels in / groups, *kernel] is that input."""

    def formula(node: onnx.NodeProto, shape: ShapeOf) -> int | None:
        output, kernel = _output(node, shape), shape(node.input[weight])
        return None if output is None or kernel is None else math.prod(output) * math.prod(kernel[1:])

    return formula


def transposed_convolution(node: onnx.NodeProto, shape: ShapeOf) -> int | None:
    """Return the MACs of a transposed convolution; its weight is [channels in, channels out / groups, *kernel]."""
    first, kernel = shape(node.input[0]), shape(node.input[1])
    return None if first is None or kernel is None else math.prod(first) * math.prod(kernel[1:])


def product(node: onnx.NodeProto, shape: ShapeOf) -> int | None:
    """Return the MACs of a product over the last axis of the first operand, or the last but one with ``transA``."""
    first, output = shape(node.input[0]), _output(node, shape)
    if first is None or output is None:
        return None
    return math.prod(output) * first[-2 if attribute(node, "transA", 0) else -1]


def recurrence(node: onnx.NodeProto, shape: ShapeOf) -> int | None:
    """Return the MACs of a recurrent layer: its weights at every time step of every sample."""
    first, entering, recurrent = (shape(name) for name in node.input[:3])
    if first is None or entering is None or recurrent is None:
        return None
    steps = math.prod(first[:2])  # time × batch, in either layout
    return steps * (math.prod(entering) + math.prod(recurrent))


def einsum(node: onnx.NodeProto, shape: ShapeOf) -> int | None:
    """Return the product of all index sizes, once for each operand after the first."""
    equation = attribute(node, "equation").decode().replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        dims = shape(name)
        if dims is None:
            return None
        before, dots, after = term.partition("...")
        tail = len(dims) - len(after)
        # Broadcast axes are numbered from the right, as NumPy aligns them.
        middle = [str(axis - tail) for axis in range(len(before), tail)] if dots else []
        for index, size in zip([*before, *middle, *after], dims, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values()) * (len(terms) - 1)


def attention(node: onnx.NodeProto, shape: ShapeOf) -> int | None:
    """Return the MACs of query·key and probability·value; inputs are [b, heads, n, d] or [b, n, heads·d]."""
    query, key, value = (shape(name) for name in node.input[:3])
    if query is None or key is None or value is None:
        return None
    past = shape(node.input[4]) if len(node.input) > 4 and node.input[4] else None
    keys = key[-2] + (past[-2] if past else 0)
    if len(query) == 4:
        return math.prod(query[:3]) * keys * (query[3] + value[3])
    # Grouped queries share value heads: each of the query's heads has a width of its own.
    value_width: int = value[2] // attribute(node, "kv_num_heads") * attribute(node, "q_num_heads")
    return math.prod(query[:2]) * keys * (query[2] + value_width)


def _output(node: onnx.NodeProto, shape: ShapeOf) -> Shape | None:
    return shape(node.output[0]) if node.output[0] else None
