"""Cross-layer equalisation: channels of very different ranges are rescaled before one scale covers all of them.

For f with f(s · x) = s · f(x), s > 0, such as ReLU, W₂ f(W₁ x + b) = (W₂ S) f(S⁻¹ W₁ x + S⁻¹ b) for any positive
diagonal S. With rᵢ⁽¹⁾ the range of W₁'s output channel i and rᵢ⁽²⁾ that of W₂'s input channel i,

    sᵢ = √(rᵢ⁽¹⁾ / rᵢ⁽²⁾)

makes both √(rᵢ⁽¹⁾ rᵢ⁽²⁾). Nagel et al. 2019, "Data-free quantization through weight equalization and bias
correction", arXiv 1906.04721, section 4.1. Pairs overlap, so they are gone through until nothing moves any more.

ReLU6 is not such a function: s would have to multiply its limit, channel by channel, and no runtime fuses that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.fold import remove_unused
from compress.onnx_graph.graph import Graph
from compress.quantization.matrices import WEIGHTED, as_matrices, from_matrices, is_plain

_ELEMENTWISE = frozenset({"Relu", "LeakyRelu", "PRelu"})
_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_FLATTENING = frozenset({"Flatten", "Reshape", "Squeeze"})

_ROUNDS = 40
_STILL = 1e-3  # largest |ln s| that counts as nothing moved
_WIDEST = 2.0**20  # a channel a million times wider than another is scaled no further


@dataclass(frozen=True)
class Pair:
    """Two weighted operators with no operator between them that depends on a channel's scale.

    Attributes:
        first: Name of the operator that writes the channels.
        second: Name of the operator that reads them.
    """

    first: str
    second: str


def equalize(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Pair, ...]]:
    """Return an equal model whose channels are equalized between consecutive weighted operators.

    Args:
        model: Float model that :func:`compress.onnx_graph.fold.prepare` returned; it is not modified.

    Returns:
        The model, equal up to float32 rounding, and the pairs that were scaled.
    """
    equalized = onnx.ModelProto()
    equalized.CopyFrom(model)
    graph = Graph(equalized)
    layers = _layers(graph)
    pairs = _pairs(layers, graph)
    scaled = {name: _Scaled(layers[name], graph) for pair in pairs for name in (pair.first, pair.second)}
    for _ in range(_ROUNDS):
        if max((_balance(scaled[pair.first], scaled[pair.second]) for pair in pairs), default=0.0) < _STILL:
            break
    for layer in scaled.values():
        layer.write()
    remove_unused(equalized)
    return equalized, pairs


def equalizable(model: onnx.ModelProto) -> tuple[Pair, ...]:
    """Return the pairs of a prepared model that :func:`equalize` scales."""
    graph = Graph(model)
    return _pairs(_layers(graph), graph)


def _layers(graph: Graph) -> dict[str, _Layer]:
    return {node.name: layer for node in graph.nodes if (layer := _layer(node, graph)) is not None}


def _pairs(layers: Mapping[str, _Layer], graph: Graph) -> tuple[Pair, ...]:
    read_by = {name: _reader(layer, graph) for name, layer in layers.items()}
    return tuple(
        Pair(name, second) for name, second in read_by.items() if second is not None and second in layers
    )


@dataclass(frozen=True)
class _Layer:
    """A weighted operator whose channels can be scaled."""

    node: onnx.NodeProto
    shape: tuple[int, ...]
    outputs: int
    inputs: int


class _Scaled:
    """A layer while its channels are scaled: the scales of both sides, and the largest weight that meets both."""

    def __init__(self, layer: _Layer, graph: Graph) -> None:
        self.layer = layer
        self._graph = graph
        matrices = np.abs(
            as_matrices(layer.node, self._weight())
        )  # [groups, outputs, inputs, taps], per group
        self._strengths = matrices.max(axis=3)
        self._written = np.ones((*self._strengths.shape[:2], 1), np.float32)  # what outputs are divided by
        self._read = np.ones((self._strengths.shape[0], 1, self._strengths.shape[2]), np.float32)

    def output_ranges(self) -> NDArray[np.float32]:
        """Return the largest weight of each output channel, [outputs]."""
        return np.asarray(((self._strengths * self._read).max(axis=2) / self._written[:, :, 0]).reshape(-1))

    def input_ranges(self, channels: int) -> NDArray[np.float32]:
        """Return the largest weight of each input channel before flattening, [channels]."""
        largest = (self._strengths / self._written).max(axis=1) * self._read[:, 0]
        return np.asarray(largest.reshape(channels, -1).max(axis=1))

    def divide_outputs(self, scales: NDArray[np.float32]) -> None:
        self._written *= scales.reshape(self._written.shape)

    def multiply_inputs(self, scales: NDArray[np.float32]) -> None:
        input_scales = np.repeat(
            scales, self.layer.inputs // len(scales)
        )  # a flattened channel is several inputs in a row
        self._read *= input_scales.reshape(self._read.shape)

    def write(self) -> None:
        """Write scaled weight and bias, rounded once from float64, as new initialisers, since others may share them."""
        node = self.layer.node
        matrices = as_matrices(node, self._weight()).astype(np.float64)
        matrices *= (self._read / self._written.astype(np.float64))[..., None]
        values = from_matrices(node, matrices, self.layer.shape).astype(np.float32)
        node.input[1] = self._graph.store(f"{node.input[1]}_equalized", values)
        if len(node.input) > 2 and node.input[2]:
            bias = np.asarray(self._graph.constant(node.input[2])) / self._written.reshape(-1).astype(
                np.float64
            )
            node.input[2] = self._graph.store(f"{node.input[2]}_equalized", bias.astype(np.float32))

    def _weight(self) -> NDArray[Any]:
        return np.asarray(self._graph.constant(self.layer.node.input[1]))


def _layer(node: onnx.NodeProto, graph: Graph) -> _Layer | None:
    weight = graph.constant(node.input[1]) if node.op_type in WEIGHTED else None
    if weight is None or weight.dtype != np.float32 or not weight.size or not is_plain(node, weight):
        return None
    groups, outputs, inputs, _ = as_matrices(node, weight).shape
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constant(node.input[2])
        if bias is None or bias.shape != (groups * outputs,):
            return None
    return _Layer(node, weight.shape, groups * outputs, groups * inputs)


def _reader(layer: _Layer, graph: Graph) -> str | None:
    """Return the only weighted operator that reads the layer's channels, with no scale-dependent operator between."""
    name = layer.node.output[0]
    axis = _channel_axis(layer.node, graph.rank(name))
    while axis is not None:
        reader = graph.only_consumer(name)
        if reader is None or reader.input[0] != name or list(reader.input).count(name) != 1:
            return None
        if reader.op_type in WEIGHTED:
            expected = _channel_axis(reader, graph.rank(name))
            return reader.name if axis == expected and _inputs_fit(layer, reader, graph) else None
        if not _homogeneous(reader, axis, graph):
            return None
        name = reader.output[0]
    return None


def _channel_axis(node: onnx.NodeProto, rank: int | None) -> int | None:
    if rank is None:
        return None
    return rank - 1 if node.op_type == "MatMul" else 1


def _inputs_fit(layer: _Layer, reader: onnx.NodeProto, graph: Graph) -> bool:
    second = _layer(reader, graph)
    return second is not None and second.inputs % layer.outputs == 0


def _homogeneous(node: onnx.NodeProto, axis: int, graph: Graph) -> bool:
    """Whether a positive scale of a channel passes through the node unchanged."""
    if node.op_type in _ELEMENTWISE:
        return True
    if axis != 1 or any(node.output[1:]):
        return False
    if node.op_type in _POOLS:
        return True
    before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
    if node.op_type not in _FLATTENING or before is None or after is None or len(after) != 2:
        return False
    sizes: list[Any] = [*before[1:], after[1]]
    return all(isinstance(size, int) for size in sizes) and math.prod(sizes[:-1]) == sizes[-1]


def _balance(first: _Scaled, second: _Scaled) -> float:
    """Scale the channels between two layers; return the largest |ln s|."""
    written, read = first.output_ranges(), second.input_ranges(first.layer.outputs)
    alive = (written > 0) & (read > 0)
    ratios = np.divide(written, read, out=np.ones_like(written), where=alive)
    scales = np.clip(np.sqrt(ratios), 1 / _WIDEST, _WIDEST)
    first.divide_outputs(scales)
    second.multiply_inputs(scales)
    return float(np.abs(np.log(scales)).max(initial=0.0))
