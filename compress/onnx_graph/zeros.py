"""Zeros among the weights of an ONNX graph: their number, and whether they have the 2:4 pattern."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph, attribute

#: Values below which a weight's zeros tell nothing.
_LEAST_VALUES = 1024


@dataclass(frozen=True)
class Zeros:
    """The zeros of one weight.

    Attributes:
        node: Name of the convolution or matrix product that reads it.
        values: Number of values in the weight.
        zeros: Number of weights that are zero.
        two_of_four: Whether every four neighbours along the inputs hold at least two zeros.
    """

    node: str
    values: int
    zeros: int
    two_of_four: bool


def zeros_of(model: onnx.ModelProto) -> Iterator[Zeros]:
    """Return the zeros of every constant weight of 1,024 values or more, in graph order, also behind Q/DQ and casts."""
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        weight = _constant(graph, node.input[1])
        if weight is None or weight.ndim < 2 or weight.size < _LEAST_VALUES:
            continue
        zero = weight == 0
        yield Zeros(
            node.name or node.output[0],
            weight.size,
            int(zero.sum()),
            _two_of_four(zero, _inputs_axis(node, weight)),
        )


def is_2_4(model: onnx.ModelProto) -> bool:
    """Whether any weight has the 2:4 pattern, and is not zero altogether."""
    return any(zeros.two_of_four and zeros.zeros < zeros.values for zeros in zeros_of(model))


def _inputs_axis(node: onnx.NodeProto, weight: NDArray[Any]) -> int:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        return 1
    return weight.ndim - 2


def _two_of_four(zero: NDArray[np.bool_], axis: int) -> bool:
    by_input = np.moveaxis(zero, axis, -1)
    if by_input.shape[-1] % 4:
        return False
    return bool((by_input.reshape(-1, 4).sum(-1) >= 2).all())


def _constant(graph: Graph, name: str) -> NDArray[Any] | None:
    """Return a constant's values for counting zeros, which scales and a zero point of 0 do not change."""
    node = graph.producers.get(name)
    if node is None:
        return graph.constant(name)
    if node.op_type in ("Cast", "Identity"):
        return _constant(graph, node.input[0])
    if node.op_type == "Transpose":
        values = _constant(graph, node.input[0])
        return None if values is None else np.transpose(values, attribute(node, "perm"))
    if node.op_type in ("DequantizeLinear", "QuantizeLinear"):
        zero_point = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        return None if zero_point is not None and np.any(zero_point) else _constant(graph, node.input[0])
    return None
