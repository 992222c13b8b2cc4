"""The simulation of an int8 network in float, with gradients.

The placement that post-training quantization uses says where; the steps of the graph are rewired as Q/DQ will be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from compress.errors import InternalError
from compress.onnx_graph.affine import output_channel_axis
from compress.onnx_graph.graph import Graph
from compress.onnx_module import OnnxModule, Step, step_of
from compress.quantization.aware.fake_quantize import FakeQuantize
from compress.quantization.aware.values import ChannelUnits, FixedValues, channel_maxima
from compress.quantization.grid import (
    Grid,
    Range,
    activation_grid,
    highest_weight,
    range_of,
    weight_scales,
    widened_scales,
)
from compress.quantization.placement import Placement, WeightedNode
from compress.target.target import QuantizationFlavour


class LearnedGrid(FakeQuantize):
    """An activation's grid: the scale is learned, the zero point stays where calibration put it.

    Args:
        start: Grid that calibration found.
        largest_scale: Upper limit of the scale.
    """

    def __init__(self, start: Grid, largest_scale: float) -> None:
        zero = start.zero_point
        super().__init__(torch.tensor(start.scale), start.lowest - zero, start.highest - zero, largest_scale)
        self._start = start

    def grid(self) -> Grid:
        """Return the present grid."""
        return replace(self._start, scale=float(self.scale().detach()))


@dataclass(frozen=True)
class Learned:
    """Values that training changed.

    Attributes:
        model: Float model with the trained weights and biases.
        ranges: Range of each activation that has a scale of its own.
        weight_scales: Scales of each weight, [channels] or [], by the weighted node's name.
    """

    model: onnx.ModelProto
    ranges: dict[str, Range]
    weight_scales: dict[str, NDArray[np.float32]]


class Simulation(OnnxModule):
    """A prepared graph with fake quantization wherever the placement puts Q/DQ.

    Learned are the scales, and the weights and biases of the int8 nodes; everything else stays as it was. Before
    any training it computes what post-training quantization with the same ranges does.

    Args:
        model: The prepared float model that was placed and calibrated; it is not modified.
        placement: Placement of Q/DQ.
        ranges: Range of each of the placement's activations that does not take another's scale.
        flavour: Types and granularity of Q/DQ.

    Raises:
        NetworkError: An operator cannot be trained.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        placement: Placement,
        ranges: Mapping[str, Range],
        flavour: QuantizationFlavour,
    ) -> None:
        wiring = _Wiring(model, placement, ranges, flavour)
        super().__init__(model, wiring.steps, wiring.outputs)
        self._model, self._flavour = model, flavour
        self._weights, self._weight_grids = wiring.weights, wiring.weight_grids
        self._activation_grids = wiring.activation_grids

    def learned(self) -> Learned:
        """Return the values that :func:`compress.quantization.insertion.insert` writes into the graph."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        with torch.no_grad():
            for tensor in model.graph.initializer:
                if tensor.name in self._weights:
                    values = self._weights[tensor.name]().cpu().numpy()
                    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            ranges = {
                name: range_of(grid.grid(), self._flavour) for name, grid in self._activation_grids.items()
            }
            scales = {node: _flat(grid.scale()) for node, grid in self._weight_grids.items()}
        return Learned(model, ranges, scales)


class _Wiring:
    """Builder of the steps; :class:`Simulation` is its only user."""

    def __init__(
        self,
        model: onnx.ModelProto,
        placement: Placement,
        ranges: Mapping[str, Range],
        flavour: QuantizationFlavour,
    ) -> None:
        self.graph = Graph(model)
        self.placement, self.ranges, self.flavour = placement, ranges, flavour
        self.weights: dict[str, ChannelUnits] = {}  # by initialiser
        self.weight_grids: dict[str, FakeQuantize] = {}  # by node
        self.activation_grids: dict[str, LearnedGrid] = {}
        self.dequantized: dict[str, str] = {}  # activation → what its int8 readers read
        self.scales: dict[str, str] = {}  # activation → its scale
        self.steps: list[Step] = []
        weighted = {weighted_node.node: weighted_node for weighted_node in placement.weighted}
        for weighted_node in placement.weighted:
            self._learn(weighted_node)
        for name in self.graph.inputs:
            self._quantize_activation(name)
        for node in self.graph.nodes:
            reads = [self._read(node, index) for index in range(len(node.input))]
            if node.name in weighted:
                self._quantize_weight(weighted[node.name], reads)
            step = step_of(node)
            self.steps.append(Step(step.run, tuple(reads), step.writes))
            for name in node.output:
                self._quantize_activation(name)
        self.outputs = [
            self._tensor(self.dequantized, name) if name in placement.outputs else name
            for name in self.graph.outputs
        ]

    def _learn(self, weighted: WeightedNode) -> None:
        """Make a weight and its bias parameters."""
        node = next(node for node in self.graph.nodes if node.name == weighted.node)
        weight = self._constant(weighted.weight)
        axis = output_channel_axis(node)
        if node.op_type == "MatMul":
            axis = weight.dim() - 1
        unit = channel_maxima(weight, axis)
        self._learn_initializer(weighted.weight, unit)
        # What one of the largest weights contributes at the largest input.
        seen = self.ranges[self.placement.same_scale_as[weighted.input]]
        contribution = unit * max(abs(seen.low), abs(seen.high))
        bias = weighted.bias or self._added_behind(node)
        if bias is not None:
            shape = self._constant(bias).shape
            self._learn_initializer(bias, contribution.reshape(-1).expand(shape))

    def _learn_initializer(self, name: str, unit: Tensor) -> None:
        if name in self.weights:
            return
        self.weights[name] = ChannelUnits(self._constant(name), unit)
        self.steps.append(Step(self.weights[name], (), (name,)))

    def _added_behind(self, node: onnx.NodeProto) -> str | None:
        """Return the bias of a MatMul: a constant that is added to its output, in float."""
        addition = self.graph.only_consumer(node.output[0])
        if node.op_type != "MatMul" or addition is None or addition.op_type != "Add":
            return None
        names: list[str] = list(addition.input)
        for index, name in enumerate(names):
            constant = self.graph.constant(name)
            channels = self._constant(node.input[1]).shape[-1]
            if constant is None or (addition.name, index) in self.placement.constants:
                continue
            if constant.shape == (channels,) and len(self.graph.consumers[name]) == 1:
                return name
        return None

    def _quantize_activation(self, name: str) -> None:
        if name not in self.placement.activations:
            return
        origin = self.placement.same_scale_as[name]
        if origin != name:  # Moved values are on their grid already.
            self.dequantized[name], self.scales[name] = name, self.scales[origin]
            return
        self.dequantized[name], self.scales[name] = f"{name} dequantized", f"{name} scale"
        grid = LearnedGrid(activation_grid(self.ranges[name], self.flavour), self._largest_scale(name))
        self.activation_grids[name] = grid
        self.steps.append(Step(grid, (name,), (self.dequantized[name], self.scales[name])))

    def _largest_scale(self, name: str) -> float:
        """Return the largest scale at which the runtime drops a Clip: the grid must not exceed its limits."""
        source = self.graph.producers.get(name)
        if source is None or source.op_type != "Clip" or len(source.input) < 3:
            return math.inf
        low, high = (self.graph.constant(limit) if limit else None for limit in source.input[1:3])
        if low is None or high is None or not float(low) <= 0 < float(high):
            return math.inf
        return activation_grid(Range(float(low), float(high)), self.flavour).scale

    def _quantize_weight(self, weighted: WeightedNode, reads: list[str]) -> None:
        """Let a node read its weight, and its bias, on their grids."""
        weight = self._constant(weighted.weight)
        highest = highest_weight(self.flavour)
        scales = weight_scales(weight.numpy(), weighted.axis, self.flavour)
        has_bias = weighted.bias is not None and self.flavour.quantize_bias
        if has_bias:
            bias = self._constant(weighted.bias or "").numpy()
            origin = self.placement.same_scale_as[weighted.input]
            scales = widened_scales(scales, bias, self.activation_grids[origin].grid().scale)
        along = [1] * weight.dim()
        if weighted.axis is not None:
            along[weighted.axis] = -1
        grid = FakeQuantize(torch.from_numpy(scales.reshape(along if scales.ndim else ())), -highest, highest)
        self.weight_grids[weighted.node] = grid
        reads[1], scale = f"{weighted.node} weight", f"{weighted.node} weight scale"
        self.steps.append(Step(grid, (weighted.weight,), (reads[1], scale)))
        if has_bias:
            of_input = self._tensor(self.scales, weighted.input)
            self.steps.append(Step(_bias_on_grid, (reads[2], of_input, scale), (f"{weighted.node} bias",)))
            reads[2] = f"{weighted.node} bias"

    def _read(self, node: onnx.NodeProto, index: int) -> str:
        """Return the tensor that a node reads at an input."""
        name = node.input[index]
        if (node.name, index) in self.placement.constants:
            return self._constant_on_grid(name)
        return self._tensor(self.dequantized, name) if (node.name, index) in self.placement.reads else name

    def _constant_on_grid(self, name: str) -> str:
        values = self._constant(name).numpy()
        grid = activation_grid(Range(float(values.min()), float(values.max())), self.flavour)
        rounded = f"{name} dequantized"
        self.steps.append(Step(FixedValues(torch.from_numpy(grid.round(values)).float()), (), (rounded,)))
        return rounded

    def _constant(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(numpy_helper.to_array(self.graph.initializers[name])))

    def _tensor(self, names: Mapping[str, str], name: str) -> str:
        if name not in names:
            raise InternalError(
                f"a quantized tensor '{name}' in the simulation",
                "none",
                "use quantize in its place: it needs no simulation",
            )
        return names[name]


def _bias_on_grid(bias: Tensor, input_scale: Tensor, weight_scale: Tensor) -> Tensor:
    """Round the bias to int32's grid, in steps of the two scales' product; its gradient passes unchanged."""
    steps = (input_scale * weight_scale.reshape(-1)).detach()
    return bias + (torch.round(bias / steps) * steps - bias).detach()


def _flat(scales: Tensor) -> NDArray[np.float32]:
    """Return weight scales as [channels], or []."""
    values: NDArray[np.float32] = scales.cpu().numpy()
    return values.reshape(-1) if values.ndim else values
