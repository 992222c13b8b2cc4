"""Small ONNX networks that measure the latency of one layer at many widths.

A layer alone would be timed with conversions of layout that it does not need among its neighbours. So each of its
widths is a branch of its own: a cheap entrance that gives the layer its inputs in the runtime's own layout, the layer,
and a cheap exit. All branches run in one call, so that whatever disturbs the machine disturbs all widths alike, and
the runtime's profiler says what each took.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.quantization import Settings, quantize_static
from compress.records.layer_time import LayerTime
from compress.target.target import QuantizationFlavour

#: Channels of the tensor that enters: a whole block of every layout in use.
_ENTRANCE = 16
_OPSET = 20
_BRANCH = re.compile(r"branch/(\d+)/")

#: Between an int8 layer and the float exit of its branch; in a network int8 flows from layer to layer.
_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Shape:
    """Everything that the latency of a layer depends on, besides the machine.

    Attributes:
        operator: Type of operator: ``Conv``, ``ConvTranspose``, ``MatMul``, ``LSTM`` or ``GRU``.
        inputs: Number of channels or features that it reads.
        outputs: Number of channels, features, or hidden units of one direction.
        space: Sizes between the batch and the features (``MatMul``), after the channels (convolutions), or the
            number of time steps.
        attributes: Attributes of the ONNX operator, by name; of a recurrent operator ``layers`` too.
        tied: Whether each output has an input of its own, as in a depthwise convolution.
    """

    operator: str
    inputs: int
    outputs: int
    space: tuple[int, ...]
    attributes: tuple[tuple[str, Any], ...] = ()
    tied: bool = False

    def weights(self, inputs: int, outputs: int) -> int:
        """Return the number of learned values at these widths."""
        attributes = dict(self.attributes)
        if self.operator in _GATES:
            directions: int = 1 + (attributes["direction"] == "bidirectional")
            layers: int = attributes["layers"]
            wide = inputs + (layers - 1) * directions * outputs
            return _GATES[self.operator] * outputs * directions * (wide + layers * outputs)
        kernel: int = math.prod(attributes.get("kernel_shape", ()))
        return kernel * outputs * (1 if self.tied else inputs)


_GATES = {"LSTM": 4, "GRU": 3}

#: Channels or features in and out of one branch.
Point = tuple[int, int]


def probe(shape: Shape, points: Sequence[Point]) -> onnx.ModelProto:
    """Make a network with a branch for every point; :func:`milliseconds` reads the time of each.

    Args:
        shape: Shape of the layer.
        points: Widths of the layer: inputs and outputs.

    Returns:
        A model with the input ``x``, of any batch. Weights are noise.
    """
    graph = _Branches(shape)
    for number, (inputs, outputs) in enumerate(points):
        graph.add(f"branch/{number}/", inputs, outputs)
    return graph.model()


def quantized(model: onnx.ModelProto, flavour: QuantizationFlavour) -> onnx.ModelProto:
    """Return a probe in the target's form of int8; ranges come from two samples of noise, which change no latency.

    Raises:
        NetworkError: There is nothing to quantize.
    """
    noise = np.random.default_rng(0)
    feeds = {}
    for graph_input in model.graph.input:
        kind = graph_input.type.tensor_type
        sizes = [size.dim_value or 2 for size in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        floating = np.issubdtype(dtype, np.floating)
        feeds[graph_input.name] = (noise.standard_normal(sizes) if floating else np.zeros(sizes)).astype(
            dtype
        )
    settings = Settings(method="min-max", equalize=False, smooth=False)
    return quantize_static(model, [feeds], flavour, settings)[0]


def milliseconds(layers: Iterable[LayerTime], points: int) -> list[float]:
    """Return the time of each branch's layer, without conversions between int8 and float.

    Args:
        layers: Layers of a probe, as :meth:`compress.hosts.base.Host.layers` returns them.
        points: Number of branches.

    Returns:
        Milliseconds of each branch; 0 where the host reports nothing for it.
    """
    spent = [0.0] * points
    for layer in layers:
        if layer.operator in _CONVERSIONS:
            continue
        # A runtime that fuses nodes joins their names; one that renames them keeps the name of what they write.
        if match := _BRANCH.search(layer.name):
            spent[int(match.group(1))] += layer.ms or 0.0
    return spent


class _Branches:
    """An ONNX graph under construction. Only what belongs to a layer itself is named after its branch."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._noise = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32) / 8

    def add(self, branch: str, inputs: int, outputs: int) -> None:
        entered = self._entrance(f"enter-{len(self._outputs)}", inputs)
        if self._shape.operator in _GATES:
            result = self._recurrent(branch, entered, inputs, outputs)
        elif self._shape.operator == "MatMul":
            weight = self._weight(f"{branch}w", (inputs, outputs))
            product = self._node("MatMul", [entered, weight], f"{branch}product")
            result = self._node("Add", [product, self._weight(f"{branch}b", (outputs,))], f"{branch}y")
        else:
            result = self._convolution(branch, entered, inputs, outputs)
        self._exit(result)

    def model(self) -> onnx.ModelProto:
        entrance = helper.make_tensor_value_info("x", TensorProto.FLOAT, self._entering())
        graph = helper.make_graph(self._nodes, "probe", [entrance], self._outputs, self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)

    def _entering(self) -> list[str | int]:
        if self._shape.operator in _GATES:
            return [self._shape.space[0], "batch", _ENTRANCE]
        if self._shape.operator == "MatMul":
            return ["batch", *self._shape.space, _ENTRANCE]
        return ["batch", _ENTRANCE, *self._shape.space]

    def _entrance(self, name: str, width: int) -> str:
        if self._shape.operator.startswith("Conv"):
            weight = self._weight(f"{name}-w", (width, _ENTRANCE, *(1 for _ in self._shape.space)))
            return self._node("Relu", [self._node("Conv", ["x", weight], f"{name}-y")], f"{name}-relu")
        return self._node("MatMul", ["x", self._weight(f"{name}-w", (_ENTRANCE, width))], f"{name}-y")

    def _convolution(self, branch: str, entered: str, inputs: int, outputs: int) -> str:
        attributes = dict(self._shape.attributes)
        kernel = attributes["kernel_shape"]
        if self._shape.tied:
            attributes["group"], dims = outputs, (outputs, 1, *kernel)
        else:
            transposed = self._shape.operator == "ConvTranspose"
            dims = (inputs, outputs, *kernel) if transposed else (outputs, inputs, *kernel)
        operands = [entered, self._weight(f"{branch}w", dims), self._weight(f"{branch}b", (outputs,))]
        result = self._node(self._shape.operator, operands, f"{branch}y", **attributes)
        return self._node("Relu", [result], f"{branch}relu")

    def _recurrent(self, branch: str, entered: str, inputs: int, outputs: int) -> str:
        attributes = dict(self._shape.attributes)
        directions, layers = 1 + (attributes["direction"] == "bidirectional"), int(attributes.pop("layers"))
        rows = _GATES[self._shape.operator] * outputs
        for layer in range(layers):
            name = f"{branch}{layer}-"
            operands = [
                entered,
                self._weight(f"{name}w", (directions, rows, inputs)),
                self._weight(f"{name}r", (directions, rows, outputs)),
                self._weight(f"{name}b", (directions, 2 * rows)),
            ]
            states = self._node(self._shape.operator, operands, f"{name}y", hidden_size=outputs, **attributes)
            inputs = directions * outputs
            if layer + 1 < layers:
                moved = self._node("Transpose", [states], f"{name}moved", perm=[0, 2, 1, 3])
                sizes = numpy_helper.from_array(np.array([0, 0, inputs], np.int64), f"{name}shape")
                self._weights.append(sizes)
                entered = self._node("Reshape", [moved, sizes.name], f"{name}joined")
        return states

    def _exit(self, result: str) -> None:
        name = f"exit-{len(self._outputs)}"
        if self._shape.operator.startswith("Conv"):
            self._node("GlobalAveragePool", [result], name)
        else:
            axes = numpy_helper.from_array(np.array([-1], np.int64), f"{name}-axes")
            self._weights.append(axes)
            self._node("ReduceMean", [result, axes.name], name)
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def _weight(self, name: str, dims: tuple[int, ...]) -> str:
        values = np.resize(self._noise, dims)
        self._weights.append(numpy_helper.from_array(values, name))
        return name
