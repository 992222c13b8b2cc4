"""A weighted node of a graph with Q/DQ whose weight and bias can be changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from compress.onnx_graph.graph import Graph
from compress.onnx_graph.weights import values_of
from compress.quantization.grid import LARGEST_BIAS
from compress.quantization.matrices import as_matrices, from_matrices, is_plain
from compress.quantization.moments import has_explicit_padding


@dataclass
class QuantizedLayer:
    """A weighted node of a quantized graph, and the constants that can be changed for it alone.

    Attributes:
        node: The node.
        stored: Stored int8 weight.
        integers: The int8 weight as [groups, outputs, inputs].
        steps: Quantization steps (scales) of the weight, [groups, outputs].
        stored_bias: Stored bias, int32 or float32, [outputs]; None without a bias.
        bias_steps: Quantization steps of the bias, [groups, outputs]; 1 where it is float.
        bias: Bias as [groups, outputs]; 0 without a bias.
    """

    node: onnx.NodeProto
    stored: onnx.TensorProto
    integers: NDArray[np.int8]
    steps: NDArray[np.float64]
    stored_bias: onnx.TensorProto | None
    bias_steps: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of(cls, node: onnx.NodeProto, graph: Graph) -> QuantizedLayer | None:
        """Return the layer of a node; None where it cannot be changed."""
        if node.op_type not in ("Conv", "Gemm", "MatMul") or not has_explicit_padding(node):
            return None
        weight = _own_constant(graph, node.input[1])
        if weight is None or weight.scale is None or weight.values.dtype != np.int8:
            return None
        if weight.zero_point.any() or not is_plain(node, weight.values):
            return None
        matrices = as_matrices(node, weight.values)
        groups, outputs = matrices.shape[:2]
        if weight.scale.size not in (1, groups * outputs):
            return None
        steps = _of_each(weight.scale, groups, outputs)
        bias, stored_bias, bias_steps = np.zeros((groups, outputs)), None, np.ones((groups, outputs))
        held = _bias_name(node, graph)
        if held is not None:
            held_bias = _own_constant(graph, held)
            if held_bias is None or held_bias.values.size != groups * outputs or held_bias.zero_point.any():
                return None  # shared, or computed: whatever it adds cannot be told from the error
            stored_bias = held_bias.stored
            if held_bias.scale is not None:
                bias_steps = _of_each(held_bias.scale, groups, outputs)
            bias = held_bias.values.reshape(groups, outputs) * bias_steps
        integers = matrices.reshape(groups, outputs, -1)
        return cls(node, weight.stored, integers, steps, stored_bias, bias_steps, bias)

    @property
    def kernel(self) -> tuple[int, ...]:
        """Sizes of a convolution's kernel; empty for the others."""
        return tuple(self.stored.dims[2:]) if self.node.op_type == "Conv" else ()

    def weight(self, integers: NDArray[Any]) -> NDArray[np.float64]:
        """Return the float weight that integers stand for, [groups, outputs, inputs]."""
        return integers * self.steps[:, :, None]

    def float_weight(self, weight: NDArray[Any]) -> NDArray[np.float64]:
        """Return the weight before rounding, in this layout; the rounded one where channels were added since."""
        exact = as_matrices(self.node, weight).astype(np.float64)
        same = exact.size == self.integers.size
        return exact.reshape(self.integers.shape) if same else self.weight(self.integers)

    def stored_as(self, bias: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the bias in the form that the graph can hold."""
        if self.stored_bias is None:
            return self.bias
        if self.stored_bias.data_type == onnx.TensorProto.INT32:
            return np.clip(np.rint(bias / self.bias_steps), -LARGEST_BIAS, LARGEST_BIAS) * self.bias_steps
        return bias

    def write(self, integers: NDArray[Any], bias: NDArray[np.float64]) -> None:
        """Write integers and bias into the graph."""
        laid_out = as_matrices(self.node, values_of(self.stored)).shape
        weight = from_matrices(self.node, integers.reshape(laid_out), tuple(self.stored.dims))
        self.stored.CopyFrom(numpy_helper.from_array(weight.astype(np.int8), self.stored.name))
        if self.stored_bias is None:
            return
        is_integer = self.stored_bias.data_type == onnx.TensorProto.INT32
        values = np.rint(bias / self.bias_steps).astype(np.int32) if is_integer else bias.astype(np.float32)
        shaped = values.reshape(tuple(self.stored_bias.dims))
        self.stored_bias.CopyFrom(numpy_helper.from_array(shaped, self.stored_bias.name))


def _of_each(scale: NDArray[np.float32], groups: int, outputs: int) -> NDArray[np.float64]:
    """Return one scale, or one for each output channel, as [groups, outputs]."""
    spread = np.broadcast_to(scale.reshape(-1), groups * outputs)
    return spread.reshape(groups, outputs).astype(np.float64)


@dataclass(frozen=True)
class _OwnConstant:
    stored: onnx.TensorProto
    values: NDArray[Any]
    scale: NDArray[np.float32] | None
    zero_point: NDArray[Any]


def _own_constant(graph: Graph, name: str) -> _OwnConstant | None:
    """Return a stored constant that only one node reads; None where it is shared or computed."""
    nothing = np.zeros(1, np.int8)
    if graph.only_consumer(name) is None:
        return None
    if name in graph.initializers:
        return _OwnConstant(graph.initializers[name], np.asarray(graph.constant(name)), None, nothing)
    source = graph.producers.get(name)
    if source is None or source.op_type != "DequantizeLinear":
        return None
    values, scale = graph.constant(source.input[0]), graph.constant(source.input[1])
    if values is None or scale is None or graph.only_consumer(source.input[0]) is None:
        return None
    zero_point = graph.constant(source.input[2]) if len(source.input) > 2 else nothing
    if zero_point is None:
        return None
    return _OwnConstant(graph.initializers[source.input[0]], values, scale, zero_point)


def _bias_name(node: onnx.NodeProto, graph: Graph) -> str | None:
    """Return the tensor added to the products: input 2, or for MatMul the other operand of the following Add."""
    if len(node.input) > 2 and node.input[2]:
        return str(node.input[2])
    addition = _addition_behind(node, graph)
    return None if addition is None else next(name for name in addition.input if name != node.output[0])


def _addition_behind(node: onnx.NodeProto, graph: Graph) -> onnx.NodeProto | None:
    reader = graph.only_consumer(node.output[0]) if node.op_type == "MatMul" else None
    if reader is None or reader.op_type != "Add":
        return None
    others = [name for name in reader.input if name != node.output[0]]
    return reader if len(others) == 1 and others[0] in graph.initializers else None


def wanted_output(node: onnx.NodeProto, graph: Graph) -> str:
    """Return the tensor that holds a node's products with its bias added."""
    addition = _addition_behind(node, graph)
    return str((node if addition is None else addition).output[0])
