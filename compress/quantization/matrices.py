"""A weight as matrices, whatever its operator: [groups, output channels, input channels, taps].

Every weighted operator is a matrix product over its input channels and, for a convolution, over the kernel's taps;
a grouped convolution is several side by side, and a depthwise one has a group for each channel. Scaling or rounding by
channel needs no other difference between the operators.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import attribute

#: Operators with their weight at input 1.
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def as_matrices(node: onnx.NodeProto, weight: NDArray[Any]) -> NDArray[Any]:
    """Return the weight of a weighted operator as [groups, outputs / groups, inputs / groups, taps]."""
    group = attribute(node, "group", 1)
    if node.op_type == "Conv":
        return weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
    if node.op_type == "ConvTranspose":
        return weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1).swapaxes(1, 2)
    rows = weight if _outputs_first(node) else weight.T
    return rows[None, :, :, None]


def from_matrices(node: onnx.NodeProto, matrices: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return matrices of :func:`as_matrices` as a weight of this shape."""
    if node.op_type == "Conv":
        return matrices.reshape(shape)
    if node.op_type == "ConvTranspose":
        return matrices.swapaxes(1, 2).reshape(shape)
    rows = matrices[0, :, :, 0]
    return np.ascontiguousarray(rows if _outputs_first(node) else rows.T)


def is_plain(node: onnx.NodeProto, weight: NDArray[Any]) -> bool:
    """Whether the weight can be seen as matrices: a batch of matrices, or a Gemm that scales, cannot."""
    if node.op_type == "Gemm":
        scaled = attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1
        return not scaled and not attribute(node, "transA", 0)
    return weight.ndim == 2 if node.op_type == "MatMul" else node.op_type in WEIGHTED


def _outputs_first(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
