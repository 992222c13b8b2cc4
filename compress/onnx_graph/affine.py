"""Fold a per-channel affine map into the operator before it.

With y = W ∗ x + b and z = s · y + t for each output channel, z = (s · W) ∗ x + (s · b + t). Batch normalisation
in inference is such a map, s = γ / √(σ² + ε) and t = β − s · μ; so are Mul and Add with a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph, attribute, replace_nodes

_Affine = tuple[NDArray[np.float64], NDArray[np.float64]]


def fold_affine(model: onnx.ModelProto, store_twice: bool = False) -> None:
    """Fold BatchNormalization, Mul and Add with constants into the Conv, ConvTranspose or Gemm before, in place.

    Only where nobody else reads the value between the two; float64 arithmetic, rounded once.

    Args:
        model: Model with inferred shapes.
        store_twice: Whether a large weight that others read as well may be stored a second time; runtimes do so
            themselves when they open the graph.
    """
    graph = Graph(model)
    absorbed: set[int] = set()  # positions of the nodes that vanish
    positions = {id(node): position for position, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        while (pair := _foldable(node, graph, store_twice)) is not None:
            follower, affine = pair
            _fold(graph, node, follower, affine)
            absorbed.add(positions[id(follower)])
    replace_nodes(model, [node for at, node in enumerate(graph.nodes) if at not in absorbed])


def _foldable(node: onnx.NodeProto, graph: Graph, store_twice: bool) -> tuple[onnx.NodeProto, _Affine] | None:
    """Return the following operator, and its map (s, t), each [channels]; None where nothing folds."""
    axis = output_channel_axis(node)
    weight = graph.constant(node.input[1]) if axis is not None else None
    if axis is None or weight is None or weight.dtype not in (np.float32, np.float64):
        return None
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constant(node.input[2])
        if bias is None or bias.size not in (1, weight.shape[axis]):
            return None
    if not store_twice and graph.is_shared(node.input[1]):
        return None
    follower = graph.only_consumer(node.output[0])
    rank = graph.rank(node.output[0])
    if follower is None or rank is None:
        return None
    affine = _as_affine(follower, node.output[0], weight.shape[axis], rank, graph)
    return None if affine is None else (follower, affine)


def output_channel_axis(node: onnx.NodeProto) -> int | None:
    """Return the axis of the weight (input 1) over output channels; None where there is no such axis."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm" and attribute(node, "alpha", 1.0) == 1 and attribute(node, "beta", 1.0) == 1:
        return 0 if attribute(node, "transB", 0) else 1
    return None


def _as_affine(node: onnx.NodeProto, source: str, channels: int, rank: int, graph: Graph) -> _Affine | None:
    if node.op_type == "BatchNormalization":
        parameters = [graph.constant(name) for name in node.input[1:]]
        if attribute(node, "training_mode", 0) or any(value is None for value in parameters):
            return None
        gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in parameters)
        scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        return scale, beta - scale * mean
    if node.op_type in ("Mul", "Add") and node.input[0] != node.input[1]:
        other = node.input[1] if node.input[0] == source else node.input[0]
        value = _per_channel(graph.constant(other), channels, rank)
        if value is None:
            return None
        return (value, np.zeros(channels)) if node.op_type == "Mul" else (np.ones(channels), value)
    return None


def _per_channel(value: NDArray[Any] | None, channels: int, rank: int) -> NDArray[np.float64] | None:
    """Return a constant as [channels], where broadcasting it against [n, channels, …] varies along axis 1 alone."""
    if value is None or value.ndim > rank:
        return None
    shape = (1,) * (rank - value.ndim) + value.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(np.asarray(value, np.float64).reshape(-1), channels).copy()


def _fold(graph: Graph, node: onnx.NodeProto, follower: onnx.NodeProto, affine: _Affine) -> None:
    axis = output_channel_axis(node)
    weight = graph.constant(node.input[1])
    if axis is None or weight is None:
        raise ValueError(f"{node.name} has no constant weight")
    scale, shift = affine
    along = [1] * weight.ndim
    along[axis] = -1
    bias = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    scaled = weight * scale.reshape(along)
    shifted = np.asarray(bias, np.float64).reshape(-1) * scale + shift
    # New initialisers, because another node may share the old ones.
    node.input[:] = [
        node.input[0],
        graph.store(f"{follower.output[0]}_weight", scaled.astype(weight.dtype)),
        graph.store(f"{follower.output[0]}_bias", shifted.astype(weight.dtype)),
    ]
    node.output[0] = follower.output[0]
