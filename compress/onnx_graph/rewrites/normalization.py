"""Normalisation layers as the arithmetic that they stand for.

With mean μ and variance σ² over the normalised axes, y = (x − μ) / √(σ² + ε) · scale + bias: the function bodies of
LayerNormalization, GroupNormalization and RMSNormalization in ONNX's operator documentation. What they compute in
float32 for the sake of half precision is cast to float32 here as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto

from compress.onnx_graph.graph import Graph, attribute
from compress.onnx_graph.rewrites.replacement import Replacement, replace_each

_EPSILON = 1e-5  # ONNX's default
_SCALE_PER_CHANNEL = 21  # GroupNormalization had a scale per group before


def decompose_layer_normalization(model: onnx.ModelProto) -> list[str]:
    """Write LayerNormalization with ReduceMean, Sub, Mul, Sqrt and Div, in place."""
    return replace_each(model, "LayerNormalization", _layer_normalization)


def decompose_rms_normalization(model: onnx.ModelProto) -> list[str]:
    """Write RMSNormalization with Mul, ReduceMean, Sqrt and Div, in place."""
    return replace_each(model, "RMSNormalization", _rms_normalization)


def decompose_group_normalization(model: onnx.ModelProto) -> list[str]:
    """Write GroupNormalization with two Reshapes around ReduceMean, Sub, Mul, Sqrt and Div, in place."""
    return replace_each(model, "GroupNormalization", _group_normalization)


def _layer_normalization(node: onnx.NodeProto, written: Replacement) -> bool:
    graph = written.graph
    axes, wide, narrow = _axes(node, graph), _stash_type(node), graph.element_type(node.input[0])
    outputs = [*node.output, "", ""][:3]
    if axes is None or not narrow:
        return False
    source = _cast(written, node.input[0], narrow, wide)
    mean = written.mean(source, axes)
    centred = written.add("Sub", source, mean)
    deviation = _root_of_mean_square(written, centred, axes, wide)
    normalized = _cast(written, written.add("Div", centred, deviation), wide, narrow)
    if outputs[1]:
        written.add("Identity", mean, output=outputs[1])
    if outputs[2]:
        written.add("Reciprocal", deviation, output=outputs[2])
    _scale(written, normalized, node.input[1:])
    return True


def _rms_normalization(node: onnx.NodeProto, written: Replacement) -> bool:
    axes, wide = _axes(node, written.graph), _stash_type(node)
    narrow = written.graph.element_type(node.input[0])
    if axes is None or not narrow:
        return False
    source = _cast(written, node.input[0], narrow, wide)
    root = _root_of_mean_square(written, source, axes, wide)
    _scale(written, _cast(written, written.add("Div", source, root), wide, narrow), node.input[1:])
    return True


def _group_normalization(node: onnx.NodeProto, written: Replacement) -> bool:
    graph = written.graph
    narrow, shape = graph.element_type(node.input[0]), graph.shape(node.input[0])
    if not narrow or shape is None:
        return False
    per_channel = graph.opset >= _SCALE_PER_CHANNEL
    wide = _stash_type(node) if per_channel else narrow
    groups = attribute(node, "num_groups")
    grouped = written.add(
        "Reshape", node.input[0], written.constant([0, groups, -1], TensorProto.INT64)
    )  # [batch, groups, elements of a group]
    source = _cast(written, grouped, narrow, wide)
    centred = written.add("Sub", source, written.mean(source, [2]))
    deviation = _root_of_mean_square(written, centred, [2], wide)
    normalized = _cast(written, written.add("Div", centred, deviation), wide, narrow)
    spread = written.constant([-1, *[1] * (len(shape) - 2 if per_channel else 1)], TensorProto.INT64)
    parameters = [written.add("Reshape", name, spread) for name in node.input[1:]]
    if per_channel:
        _scale(written, _like(written, normalized, node.input[0]), parameters)
    else:
        scaled = written.add("Add", written.add("Mul", normalized, parameters[0]), parameters[1])
        _like(written, scaled, node.input[0], output=node.output[0])
    return True


def _axes(node: onnx.NodeProto, graph: Graph) -> list[int] | None:
    """Return the normalised axes, counted from the end; None where the rank is unknown."""
    first = attribute(node, "axis", -1)
    if first >= 0:
        rank = graph.rank(node.input[0])
        if rank is None:
            return None
        first -= rank
    return list(range(first, 0))


def _stash_type(node: onnx.NodeProto) -> int:
    return int(attribute(node, "stash_type", TensorProto.FLOAT))


def _cast(written: Replacement, name: str, current_type: int, wanted_type: int) -> str:
    return name if current_type == wanted_type else written.add("Cast", name, to=wanted_type)


def _root_of_mean_square(written: Replacement, name: str, axes: Sequence[int], element_type: int) -> str:
    """Write √(mean of squares + ε), and return its name."""
    mean = written.mean(written.add("Mul", name, name), axes)
    epsilon = written.constant(attribute(written.node, "epsilon", _EPSILON), element_type)
    return written.add("Sqrt", written.add("Add", mean, epsilon))


def _scale(written: Replacement, normalized: str, parameters: Sequence[str]) -> None:
    """Write scale and, where there is one, bias; the result is the node's first output."""
    output = written.node.output[0]
    scale, bias = [*parameters, ""][:2]
    if bias:
        written.add("Add", written.add("Mul", normalized, scale), bias, output=output)
    else:
        written.add("Mul", normalized, scale, output=output)


def _like(written: Replacement, name: str, source: str, output: str = "") -> str:
    """Return the tensor in the shape of another one, which is constant where at most one size is open."""
    shape = written.graph.shape(source) or ()
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes.count(-1) <= 1 and 0 not in sizes:
        target_shape = written.constant(sizes, TensorProto.INT64)
    else:
        target_shape = written.add("Shape", source)
    return written.add("Reshape", name, target_shape, output=output)
