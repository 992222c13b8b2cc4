"""Insertion of Q/DQ into a graph: the placement says where, the ranges say how fine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.fold import infer_shapes, remove_unused
from compress.onnx_graph.graph import Graph, replace_nodes
from compress.onnx_graph.weights import values_of
from compress.quantization.alignment import align_input_channels
from compress.quantization.grid import (
    Grid,
    Range,
    activation_grid,
    highest_weight,
    quantize_weight,
    weight_scales,
    widened_scales,
)
from compress.quantization.kernels import ONNXRUNTIME, kernels_for
from compress.quantization.layout import hold_layout
from compress.quantization.placement import Placement, WeightedNode
from compress.target.target import QuantizationFlavour


def insert(
    model: onnx.ModelProto,
    placement: Placement,
    ranges: Mapping[str, Range],
    flavour: QuantizationFlavour,
    scales: Mapping[str, NDArray[np.float32]] | None = None,
) -> onnx.ModelProto:
    """Return a quantized copy of a model.

    Args:
        model: Float model that was placed and calibrated; it is not modified.
        placement: Placement of Q/DQ.
        ranges: Range of each of the placement's activations that does not take another's scale.
        flavour: Types and granularity of Q/DQ.
        scales: Learned scales of a weight, [channels] or [], by the weighted node's name; elsewhere the largest weight
            of a channel decides. None for no learned scales.

    Returns:
        A model with QuantizeLinear and DequantizeLinear around activations, weights as int8 initialisers behind
        DequantizeLinear, and biases as int32 ones where the flavour wants that. Inputs, outputs and opset are
        unchanged.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    writer = _Writer(quantized, flavour)
    grids = {
        name: activation_grid(ranges[placement.same_scale_as[name]], flavour)
        for name in placement.activations
    }
    for name, index in sorted(placement.constants):
        writer.quantize_constant(name, index)
    for weighted in placement.weighted:
        writer.quantize_weight(weighted, grids[weighted.input], (scales or {}).get(weighted.node))
    for name in placement.activations:
        writer.quantize_activation(name, grids[name], placement)
    writer.finish()
    if flavour.activation == "uint8" and kernels_for(flavour) is ONNXRUNTIME:  # on x86
        align_input_channels(quantized)
    remove_unused(quantized)
    infer_shapes(quantized)
    if kernels_for(flavour) is ONNXRUNTIME:
        hold_layout(quantized)
    return quantized


class _Writer:
    """Writer of Q/DQ into a graph; :func:`insert` is its only user."""

    def __init__(self, model: onnx.ModelProto, flavour: QuantizationFlavour) -> None:
        self.model = model
        self.flavour = flavour
        self.graph = Graph(model)
        self.stored: dict[str, dict[str, NDArray[Any]]] = {}  # wanted name → given name → value
        self.new_inputs: dict[tuple[str, int], str] = {}
        self.new_outputs: dict[str, str] = {}
        self.of_constants: dict[str, onnx.NodeProto] = {}  # by output, so that shared constants stay shared
        self.pairs: dict[str, list[onnx.NodeProto]] = {}

    def quantize_activation(self, name: str, grid: Grid, placement: Placement) -> None:
        """Put a Q/DQ pair behind a tensor and connect the tensor's readers to it."""
        if name in placement.outputs:  # the caller's name goes to what the caller gets
            source, dequantized = self.graph.free_name(f"{name}_float"), name
            self.new_outputs[name] = source
        else:
            source, dequantized = name, self.graph.free_name(f"{name}_dequantized")
        quantized = self.graph.free_name(f"{name}_quantized")
        parameters = self._parameters(
            placement.same_scale_as[name], *_activation_parameters(grid, self.flavour)
        )
        self.pairs[name] = [
            _node("QuantizeLinear", [source, *parameters], quantized),
            _node("DequantizeLinear", [quantized, *parameters], dequantized),
        ]
        for reader in self.graph.consumers.get(name, []):
            for index, read in enumerate(reader.input):
                if read == name and (reader.name, index) in placement.reads:
                    # The shape is the same, and dequantizing a whole tensor to look at it would be a pity.
                    by_shape = reader.op_type == "Shape"
                    self.new_inputs[reader.name, index] = quantized if by_shape else dequantized

    def quantize_constant(self, node: str, index: int) -> None:
        """Store a constant operand on a grid of its own."""
        name = self._node(node).input[index]
        values = self._constant(name)
        grid = activation_grid(Range(float(values.min()), float(values.max())), self.flavour)
        scale, zero_point = _activation_parameters(grid, self.flavour)
        integers = grid.quantize(values).astype(zero_point.dtype)
        self.new_inputs[node, index] = self._dequantized_constant(name, integers, scale, zero_point)

    def quantize_weight(
        self, weighted: WeightedNode, grid: Grid, learned: NDArray[np.float32] | None = None
    ) -> None:
        """Store a weight as int8, and the bias as int32 where the flavour wants it."""
        weight = self._constant(weighted.weight)
        scales = weight_scales(weight, weighted.axis, self.flavour) if learned is None else learned
        bias = self._constant(weighted.bias) if weighted.bias and self.flavour.quantize_bias else None
        if bias is not None:
            scales = widened_scales(scales, bias, grid.scale)
            steps = np.float32(grid.scale) * scales
            integer_bias = np.rint(bias.astype(np.float64) / steps).astype(np.int32)
            self.new_inputs[weighted.node, 2] = self._dequantized_constant(
                weighted.bias or "", integer_bias, steps, np.zeros_like(steps, np.int32), 0
            )
        integers = quantize_weight(weight, scales, weighted.axis, highest_weight(self.flavour))
        self.new_inputs[weighted.node, 1] = self._dequantized_constant(
            weighted.weight, integers, scales, np.zeros_like(scales, np.int8), weighted.axis
        )

    def finish(self) -> None:
        """Write everything into the model."""
        nodes = list(self.of_constants.values())
        nodes += [node for name in self.graph.inputs for node in self.pairs.get(name, [])]
        for node in self.graph.nodes:
            for index, name in enumerate(node.input):
                node.input[index] = self.new_inputs.get((node.name, index), name)
            outputs = list(node.output)
            node.output[:] = [self.new_outputs.get(name, name) for name in outputs]
            nodes += [node, *(added for name in outputs for added in self.pairs.get(name, []))]
        replace_nodes(self.model, nodes)

    def _dequantized_constant(
        self,
        name: str,
        integers: NDArray[Any],
        scales: NDArray[np.float32],
        zero_points: NDArray[Any],
        axis: int | None = None,
    ) -> str:
        """Return the tensor that a constant's DequantizeLinear makes."""
        quantized = self._store(f"{name}_quantized", integers)
        inputs = [quantized, *self._parameters(quantized, scales, zero_points)]
        attributes = {"axis": axis} if scales.ndim and axis is not None else {}
        output = f"{quantized}_dequantized"
        if output not in self.of_constants or list(self.of_constants[output].input) != inputs:
            output = self.graph.free_name(output)
            self.of_constants[output] = _node("DequantizeLinear", inputs, output, **attributes)
        return output

    def _parameters(self, name: str, scale: NDArray[np.float32], zero_point: NDArray[Any]) -> tuple[str, str]:
        return self._store(f"{name}_scale", scale), self._store(f"{name}_zero_point", zero_point)

    def _store(self, base: str, value: NDArray[Any]) -> str:
        """Return an initialiser of this or a similar name: an existing one with the value, or a new one."""
        for name, stored in self.stored.get(base, {}).items():
            if np.array_equal(stored, value):
                return name
        name = self.graph.store(base, value, inside=True)  # a quarter of a float's size, and often replaced
        self.stored.setdefault(base, {})[name] = value
        return name

    def _constant(self, name: str) -> NDArray[Any]:
        return values_of(self.graph.initializers[name])

    def _node(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.graph.nodes if node.name == name)


def _activation_parameters(grid: Grid, flavour: QuantizationFlavour) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return scale and zero point as scalars of the types that Q/DQ take."""
    return np.array(grid.scale, np.float32), np.array(grid.zero_point, np.dtype(flavour.activation))


def _node(op_type: str, inputs: list[str], output: str, **attributes: int) -> onnx.NodeProto:
    return onnx.helper.make_node(op_type, inputs, [output], name=f"{output}_{op_type}", **attributes)
