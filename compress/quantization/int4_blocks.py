"""4-bit weights for TensorRT: blocks of each column share a scale, behind DequantizeLinear; activations stay float.

ONNX has the type INT4 and blocked DequantizeLinear from opset 21 on. Round to nearest, symmetric, from -7 to 7.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError
from compress.onnx_graph.fold import infer_shapes, prepare, remove_unused
from compress.onnx_graph.graph import Graph, attribute, replace_nodes

#: Values along the axis that is summed over which share a scale.
BLOCK = 64

_FIRST_OPSET = 21
_HIGHEST = 7


def int4_weights(model: onnx.ModelProto, block: int = BLOCK) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return a copy whose MatMul and Gemm have 4-bit weights where blocks divide them.

    Args:
        model: A float32 network of opset 21 or later; it is not modified.
        block: Number of values that share a scale.

    Returns:
        The model, and the reason why each other MatMul or Gemm stays float, by its name.

    Raises:
        NetworkError: The opset is older, or there is nothing to quantize.
    """
    quantized = prepare(model, store_twice=True)
    graph = Graph(quantized)
    if graph.opset < _FIRST_OPSET:
        raise NetworkError(f"ONNX opset {_FIRST_OPSET} or later", f"opset {graph.opset}", "export it again")
    nodes: list[onnx.NodeProto] = []
    float_nodes: dict[str, str] = {}
    done: dict[tuple[str, int], str] = {}  # (weight, axis) → what DequantizeLinear makes of it
    for node in graph.nodes:
        if node.op_type in ("MatMul", "Gemm"):
            axis = 1 if attribute(node, "transB", 0) else 0
            reason = _why_float(graph, node.input[1], axis, block)
            if reason is not None:
                float_nodes[node.name] = reason
            elif (node.input[1], axis) not in done:
                nodes.append(_dequantized(graph, node.input[1], axis, block))
                done[node.input[1], axis] = nodes[-1].output[0]
            if reason is None:
                node.input[1] = done[node.input[1], axis]
        nodes.append(node)
    if not done:
        reasons = "; ".join(dict.fromkeys(float_nodes.values())) or "no MatMul or Gemm"
        raise NetworkError("weights to quantize to 4 bits", f"none: {reasons}", "leave this network in float")
    replace_nodes(quantized, nodes)
    remove_unused(quantized)
    infer_shapes(quantized)
    return quantized, float_nodes


def quantize_blocks(
    weight: NDArray[np.float32], axis: int, block: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return integers from -7 to 7 in the weight's shape, and a scale for each block along the axis."""
    shape = list(weight.shape)
    shape[axis : axis + 1] = [shape[axis] // block, block]
    blocks = weight.reshape(shape)
    scales = np.maximum(np.abs(blocks).max(axis + 1) / _HIGHEST, np.finfo(np.float32).tiny).astype(np.float32)
    integers = np.clip(np.rint(blocks / np.expand_dims(scales, axis + 1)), -_HIGHEST, _HIGHEST)
    return integers.reshape(weight.shape).astype(np.int8), scales


def _why_float(graph: Graph, name: str, axis: int, block: int) -> str | None:
    weight = graph.constant(name)
    if weight is None:
        return "its weight is computed, not constant"
    if weight.dtype != np.float32 or weight.ndim != 2:
        return f"its weight is {weight.dtype} with {weight.ndim} axes"
    return (
        f"its {weight.shape[axis]} inputs are no multiple of {block}" if weight.shape[axis] % block else None
    )


def _dequantized(graph: Graph, name: str, axis: int, block: int) -> onnx.NodeProto:
    integers, scales = quantize_blocks(np.asarray(graph.constant(name)), axis, block)
    stored = graph.free_name(f"{name}_int4")
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.INT4)
    graph.model.graph.initializer.append(numpy_helper.from_array(integers.astype(dtype), stored))
    scale = graph.store(f"{stored}_scale", scales)
    output = graph.free_name(f"{name}_dequantized")
    return helper.make_node(
        "DequantizeLinear",
        [stored, scale],
        [output],
        f"{output}_DequantizeLinear",
        axis=axis,
        block_size=block,
    )
