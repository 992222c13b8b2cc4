"""Win back what rounding lost, layer by layer, from calibration samples alone: biases and, where asked, weights.

The layers are gone through in the order in which they run. Each is measured with the inputs that the quantized
network, as corrected so far, really gives it, against the outputs of the float network:

* **Bias correction**: the bias takes up the mean error of every output channel (Nagel et al. 2019, arXiv 1906.04721,
  section 4.2, in its empirical form).
* **Reconstruction**: the weights are rounded anew for those inputs; see :mod:`compress.quantization.rounding`.

Every fourth batch is kept out of the fit. A layer is changed only where on those its own error became smaller and
the network's did not become larger: a bias that is right on average can be wrong behind a ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from compress.onnx_graph.graph import Graph
from compress.quantization.grid import LARGEST_BIAS
from compress.quantization.matrices import as_matrices, from_matrices, is_plain
from compress.quantization.moments import Moments, has_explicit_padding, rows_of
from compress.quantization.probe import Batch, OutputError, Probe
from compress.quantization.rounding import reconstruct

#: Samples that recovery is measured on; they are held in memory.
SAMPLES = 256

#: Inputs of one output above which weights are not rounded anew: the matrix of their products grows with the square.
_MOST_INPUTS = 4608

_KEPT_OUT = 4  # every fourth batch


@dataclass(frozen=True)
class Recovered:
    """What recovery did to one layer.

    Attributes:
        layer: The node's name.
        before: Mean squared error of its outputs on samples kept out of the fit, over their mean square.
        after: The same with the correction that was kept.
        kept: ``rounding``, ``bias``, or ``nothing`` where neither made the errors smaller.
    """

    layer: str
    before: float
    after: float
    kept: str


def recover(
    original: onnx.ModelProto,
    quantized: onnx.ModelProto,
    layers: Sequence[str],
    batches: Sequence[Batch],
    largest: int | None = None,
) -> tuple[onnx.ModelProto, tuple[Recovered, ...]]:
    """Correct biases, and round weights anew.

    Args:
        original: The float model that was quantized; nodes have the same names in both.
        quantized: With int8 weights behind DequantizeLinear; it is not modified.
        layers: Names of the nodes to correct, in topological order; those that cannot be are left out.
        batches: Samples.
        largest: The largest magnitude of a weight's integer, with which weights are rounded anew; without it
            biases are corrected alone.

    Returns:
        The corrected model, and what was done to each layer.
    """
    corrected = onnx.ModelProto()
    corrected.CopyFrom(quantized)
    targets = Graph(original)
    nodes = {node.name: node for node in targets.nodes}
    done = []
    fitting, checking = _divided(batches)
    network = OutputError(original, checking)
    smallest = network.of(corrected)
    for name in layers:
        layer = _QuantizedLayer.find(Graph(corrected), name)
        if layer is None or name not in nodes:
            continue
        wanted = _wanted_output(nodes[name], targets)
        kernel = tuple(layer.stored.dims[2:]) if layer.node.op_type == "Conv" else ()
        tensors = (wanted, layer.node.input[0])
        fitted, checked = (
            _moments(original, corrected, layer.node, kernel, tensors, part) for part in (fitting, checking)
        )
        exact = layer.float_weight(np.asarray(targets.constant(nodes[name].input[1])))
        choice = _best_correction(layer, exact, fitted, checked, largest)
        if choice.name != "nothing":
            layer.write(choice.integers, choice.bias)
            error = network.of(corrected)
            if error <= smallest:
                smallest = error
            else:
                layer.write(layer.integers, layer.bias)
                choice = replace(choice, name="nothing", after=choice.before)
        done.append(Recovered(name, choice.before, choice.after, choice.name))
    return corrected, tuple(done)


@dataclass
class _QuantizedLayer:
    """A weighted node of a quantized graph, and the constants that can be changed for it alone."""

    node: onnx.NodeProto
    stored: onnx.TensorProto  # the int8 weight
    integers: NDArray[np.float64]  # [groups, outputs, inputs]
    steps: NDArray[np.float64]  # of the weight, [groups, outputs]
    stored_bias: onnx.TensorProto | None  # int32 or float32, [outputs]
    bias_steps: NDArray[np.float64]  # [groups, outputs]; 1 where the bias is float
    bias: NDArray[np.float64]  # [groups, outputs]; 0 where there is none

    @classmethod
    def find(cls, graph: Graph, name: str) -> _QuantizedLayer | None:
        node = next((node for node in graph.nodes if node.name == name), None)
        if node is None or node.op_type not in ("Conv", "Gemm", "MatMul") or not has_explicit_padding(node):
            return None
        found = _own_constant(graph, node.input[1])
        if found is None or found.scale is None or found.values.dtype != np.int8:
            return None
        if found.zero_point.any() or not is_plain(node, found.values):
            return None
        matrices = as_matrices(node, found.values)
        groups, outputs = matrices.shape[:2]
        if found.scale.size not in (1, groups * outputs):
            return None
        steps = _of_each(found.scale, groups, outputs)
        bias, stored_bias, bias_steps = np.zeros((groups, outputs)), None, np.ones((groups, outputs))
        held = _bias_name(node, graph)
        if held is not None:
            own = _own_constant(graph, held)
            if own is None or own.values.size != groups * outputs or own.zero_point.any():
                return None  # shared, or computed: whatever it adds cannot be told from the error
            stored_bias = own.stored
            if own.scale is not None:
                bias_steps = _of_each(own.scale, groups, outputs)
            bias = own.values.reshape(groups, outputs) * bias_steps
        integers = matrices.reshape(groups, outputs, -1).astype(np.float64)
        return cls(node, found.stored, integers, steps, stored_bias, bias_steps, bias)

    @property
    def weight(self) -> NDArray[np.float64]:
        return self.integers * self.steps[:, :, None]

    def float_weight(self, weight: NDArray[Any]) -> NDArray[np.float64]:
        """The weight before it was rounded, in this layout; the rounded one where channels were added since."""
        exact = as_matrices(self.node, weight).astype(np.float64)
        same = exact.size == self.integers.size
        return exact.reshape(self.integers.shape) if same else self.weight

    def stored_as(self, bias: NDArray[np.float64]) -> NDArray[np.float64]:
        """The bias as the graph can hold it."""
        if self.stored_bias is None:
            return self.bias
        if self.stored_bias.data_type == onnx.TensorProto.INT32:
            return np.clip(np.rint(bias / self.bias_steps), -LARGEST_BIAS, LARGEST_BIAS) * self.bias_steps
        return bias

    def write(self, integers: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
        """Put these into the graph."""
        laid_out = as_matrices(self.node, numpy_helper.to_array(self.stored)).shape
        weight = from_matrices(self.node, integers.reshape(laid_out), tuple(self.stored.dims))
        self.stored.CopyFrom(numpy_helper.from_array(weight.astype(np.int8), self.stored.name))
        if self.stored_bias is None:
            return
        whole = self.stored_bias.data_type == onnx.TensorProto.INT32
        values = np.rint(bias / self.bias_steps).astype(np.int32) if whole else bias.astype(np.float32)
        shaped = values.reshape(tuple(self.stored_bias.dims))
        self.stored_bias.CopyFrom(numpy_helper.from_array(shaped, self.stored_bias.name))


def _of_each(scale: NDArray[np.float32], groups: int, outputs: int) -> NDArray[np.float64]:
    """One scale, or one for each output channel, as [groups, outputs]."""
    spread = np.broadcast_to(scale.reshape(-1), groups * outputs)
    return spread.reshape(groups, outputs).astype(np.float64)


@dataclass(frozen=True)
class _OwnConstant:
    stored: onnx.TensorProto
    values: NDArray[Any]
    scale: NDArray[np.float32] | None
    zero_point: NDArray[Any]


def _own_constant(graph: Graph, name: str) -> _OwnConstant | None:
    """A constant that one node alone reads, as it is stored; None where it is shared or computed."""
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
    """The tensor that is added to the products: input 2, or for MatMul the other operand of the Add behind it."""
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


def _wanted_output(node: onnx.NodeProto, graph: Graph) -> str:
    addition = _addition_behind(node, graph)
    return str((node if addition is None else addition).output[0])


def _divided(batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Batches to fit to and batches to check on; the same where there are too few to divide."""
    checking = list(batches[_KEPT_OUT - 1 :: _KEPT_OUT])
    fitting = [batch for number, batch in enumerate(batches) if number % _KEPT_OUT != _KEPT_OUT - 1]
    return fitting, checking or fitting


def _moments(
    original: onnx.ModelProto,
    quantized: onnx.ModelProto,
    node: onnx.NodeProto,
    kernel: tuple[int, ...],
    tensors: tuple[str, str],
    batches: Sequence[Batch],
) -> Moments:
    """Of what the node reads in the quantized network, and of what is wanted of it in the float one."""
    random = np.random.default_rng(0)
    right, ours = Probe(original, tensors[:1]), Probe(quantized, tensors[1:])
    return reduce(
        add,
        (
            Moments.of(*rows_of(node, kernel, ours.run(batch)[0], right.run(batch)[0], random))
            for batch in batches
        ),
    )


@dataclass(frozen=True)
class _Correction:
    name: str
    integers: NDArray[np.float64]
    bias: NDArray[np.float64]
    before: float
    after: float


def _best_correction(
    layer: _QuantizedLayer, exact: NDArray[np.float64], fitted: Moments, checked: Moments, largest: int | None
) -> _Correction:
    """The correction with the smallest error of those allowed."""
    has_bias = layer.stored_bias is not None
    choices = {"nothing": (layer.integers, layer.bias)}
    if has_bias:
        choices["bias"] = (layer.integers, layer.stored_as(fitted.best_bias(layer.weight)))
    if largest is not None and layer.integers.shape[2] <= _MOST_INPUTS:
        integers = reconstruct(exact, layer.steps, largest, fitted, has_bias).astype(np.float64)
        bias = fitted.best_bias(integers * layer.steps[:, :, None])
        choices["rounding"] = (integers, layer.stored_as(bias))
    energy = max(float(checked.yy.sum()) / checked.rows, float(np.finfo(np.float32).tiny))
    errors = {
        name: checked.error(integers * layer.steps[:, :, None], bias) / energy
        for name, (integers, bias) in choices.items()
    }
    best = min(errors, key=lambda name: errors[name])
    return _Correction(best, *choices[best], errors["nothing"], errors[best])
