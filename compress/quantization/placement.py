"""The placement of Q/DQ: quantized activations, weights and biases, their readers, and why the rest stays float.

The rules, for a back end whose int8 flows from kernel to kernel (ONNX Runtime on a CPU):

1. Conv, Gemm and MatMul with constant weights run in int8 and quantize their inputs on demand.
2. A cheap operator joins when all its inputs are int8 already: between two int8 kernels it costs nothing to
   stay there, and everywhere else it would add a quantization and win no time.
3. It leaves again when its result is read in float alone, which frees what is before it to leave as well. So
   a transformer's residual stream stays float, and a convolutional network's becomes one int8 chain.
4. An activation after an int8 kernel vanishes in the quantization that follows it.

For one that reads Q/DQ on inputs alone (TensorRT), rule 1 holds, and the shortcut of a residual addition is
quantized, so that the addition fuses into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from compress.core.suggestions import did_you_mean
from compress.errors import RecipeError
from compress.onnx_graph.affine import output_channel_axis
from compress.onnx_graph.graph import Graph, attribute
from compress.quantization.kernels import Int8Kernels, kernels_for
from compress.quantization.settings import Settings
from compress.target.target import QuantizationFlavour


@dataclass(frozen=True)
class WeightedNode:
    """A node with a constant weight that runs in int8.

    Attributes:
        node: Name of the node.
        input: Name of the activation it reads.
        weight: Name of the initialiser at input 1.
        axis: Axis of the weight over output channels, with one scale each; None for one scale for all.
        bias: Name of the initialiser at input 2, one value per channel; None without a bias.
    """

    node: str
    input: str
    weight: str
    axis: int | None
    bias: str | None


@dataclass(frozen=True)
class Placement:
    """Placement of Q/DQ in a graph.

    Attributes:
        activations: Tensors that get a Q/DQ pair, in topological order.
        same_scale_as: Tensor of ``activations`` whose scale a tensor takes, by the latter's name.
        reads: Pairs (node name, input index) that read the dequantized tensor; other readers read the original.
        outputs: Graph outputs that return the dequantized tensor.
        weighted: Nodes whose weight, and bias, are quantized.
        constants: Pairs (node name, input index) of constants that are quantized like activations.
        int8_nodes: Names of all nodes that run in int8 or vanish in one that does.
        float_nodes: Reason why each other node that computes floats stays so, by its name.
    """

    activations: tuple[str, ...]
    same_scale_as: Mapping[str, str]
    reads: frozenset[tuple[str, int]]
    outputs: frozenset[str]
    weighted: tuple[WeightedNode, ...]
    constants: frozenset[tuple[str, int]]
    int8_nodes: tuple[str, ...]
    float_nodes: Mapping[str, str]


def place(model: onnx.ModelProto, flavour: QuantizationFlavour, settings: Settings) -> Placement:
    """Decide the placement of Q/DQ.

    Args:
        model: Model that :func:`compress.onnx_graph.fold.prepare` returned.
        flavour: Flavour, which decides whose kernels count, and the granularity of the weights.
        settings: Settings with the scope, and the nodes that must stay float.

    Raises:
        RecipeError: A node to be excluded is not in the graph.
    """
    graph = Graph(model)
    _check_excluded(graph, settings)
    planner = _Planner(graph, flavour, settings, kernels_for(flavour))
    planner.choose_weighted()
    if planner.kernels.writes_int8:
        planner.join_cheap()
        planner.leave_where_only_float_reads()
    if planner.kernels.fused_addition and settings.scope == "all":
        planner.quantize_shortcuts()
    return planner.placement()


class _Planner:
    """Planner of the placement; :func:`place` is its only user."""

    def __init__(
        self, graph: Graph, flavour: QuantizationFlavour, settings: Settings, kernels: Int8Kernels
    ) -> None:
        self.graph = graph
        self.flavour = flavour
        self.settings = settings
        self.kernels = kernels
        self.weighted: dict[str, WeightedNode] = {}
        self.cheap: set[str] = set()  # names of joined chained and moving nodes, and of absorbed activations
        self.shortcuts: set[tuple[str, int]] = set()
        self.reasons: dict[str, str] = {}

    def choose_weighted(self) -> None:
        for node in self.graph.nodes:
            reason = self._why_float(node)
            if reason is None:
                self.weighted[node.name] = self._as_weighted(node)
            else:
                self.reasons[node.name] = reason

    def join_cheap(self) -> None:
        if self.settings.scope == "weights-ops":
            candidates = self.kernels.absorbed
        else:
            candidates = self.kernels.absorbed | self.kernels.chained | self.kernels.moving
        # What exists in int8: the inputs of the weighted kernels, and then everything a kernel writes.
        available = {weighted.input for weighted in self.weighted.values()}
        for node in self.graph.nodes:
            if node.name in self.weighted:
                available.add(node.output[0])
            elif node.op_type in candidates and not self._excluded(node):
                missing = self._missing(node, available)
                if missing is None:
                    self.cheap.add(node.name)
                    available.update(node.output)
                else:
                    self.reasons[node.name] = missing

    def leave_where_only_float_reads(self) -> None:
        for node in reversed(self.graph.nodes):
            if node.name not in self.cheap or self._read_in_int8(node):
                continue
            if self._is_absorbed(node) and self._needs_int8_output(self.graph.producers[node.input[0]]):
                continue
            self.cheap.discard(node.name)
            self.reasons[node.name] = "its result is read in float alone"

    def quantize_shortcuts(self) -> None:
        depth: dict[str, int] = {}
        for node in self.graph.nodes:
            deepest = max((depth.get(name, 0) for name in node.input), default=0)
            depth.update((name, deepest + 1) for name in node.output)
            if node.op_type != "Add" or self._excluded(node):
                continue
            fusing = [index for index in (0, 1) if self._fuses(node.input[index])]
            if not fusing or any(name in self.graph.initializers for name in node.input):
                continue
            # Of two convolutions the shortcut is the one behind fewer nodes.
            main = max(fusing, key=lambda index: depth[node.input[index]])
            self.shortcuts.add((node.name, 1 - main))
            self.reasons[node.name] = "TensorRT fuses it into the convolution before it"

    def placement(self) -> Placement:
        reads: set[tuple[str, int]] = set(self.shortcuts)
        constants: set[tuple[str, int]] = set()
        written: dict[str, str] = {}  # tensor → the tensor whose scale it takes
        for node in self.graph.nodes:
            for index in self._activation_inputs(node):
                is_constant = node.input[index] in self.graph.initializers
                (constants if is_constant else reads).add((node.name, index))
            for name in self._written(node):
                written[name] = written.get(node.input[0], node.input[0]) if self._moves(node) else name
        for name in written:
            reads.update(
                (reader.name, index)
                for reader in self.graph.consumers.get(name, [])
                for index, read in enumerate(reader.input)
                if read == name
            )
        names = {node.name: node for node in self.graph.nodes}
        quantized_tensors = set(written) | {names[name].input[index] for name, index in reads}
        order = [*self.graph.inputs, *(name for node in self.graph.nodes for name in node.output)]
        return Placement(
            activations=tuple(name for name in order if name in quantized_tensors),
            same_scale_as={name: written.get(name, name) for name in order if name in quantized_tensors},
            reads=frozenset(reads),
            outputs=frozenset(name for name in self.graph.outputs if name in written),
            weighted=tuple(self.weighted.values()),
            constants=frozenset(constants),
            int8_nodes=tuple(node.name for node in self.graph.nodes if self._in_int8(node)),
            float_nodes={
                node.name: self.reasons[node.name]
                for node in self.graph.nodes
                if not self._in_int8(node) and any(self.graph.is_float32(name) for name in node.output)
            },
        )

    def _why_float(self, node: onnx.NodeProto) -> str | None:
        """Return the reason why the node is not an int8 kernel of its own; None where it is one."""
        if self._excluded(node):
            return "excluded by the recipe"
        if node.op_type not in self.kernels.weighted:
            if not self.kernels.writes_int8:
                return f"{self.kernels.back_end} gets Q/DQ at weighted operators alone"
            if node.op_type in self.kernels.chained | self.kernels.moving | self.kernels.absorbed:
                return f"outside the scope {self.settings.scope}"
            return f"{self.kernels.back_end} has no int8 kernel for {node.op_type}"
        weight = self.graph.constant(node.input[1])
        if weight is None:
            return "its weight is computed, not constant"
        if weight.dtype != np.float32 or not self.graph.is_float32(node.output[0]):
            return f"its weight is {weight.dtype}, not float32"
        if node.input[0] in self.graph.initializers:
            return "its input is constant"
        if node.op_type == "Gemm" and output_channel_axis(node) is None:
            return "alpha or beta is not 1"
        if self._fuses_into_nothing(node.output[0]):
            return "a pool of dilations reads it, which stays float where it reads floats"
        return self._why_bias_float(node, weight.shape[_channel_axis(node, weight.ndim)])

    def _fuses_into_nothing(self, name: str) -> bool:
        """Whether the back end would fuse a reader between Q/DQ into a kernel that does not exist."""
        return self.kernels.writes_int8 and any(
            _has_no_int8_kernel(reader)
            or (
                reader.op_type in self.kernels.absorbed | self.kernels.moving | self.kernels.chained
                and any(map(self._fuses_into_nothing, reader.output))
            )
            for reader in self.graph.consumers.get(name, [])
        )

    def _why_bias_float(self, node: onnx.NodeProto, channels: int) -> str | None:
        if len(node.input) < 3 or not node.input[2] or not self.flavour.quantize_bias:
            return None
        bias = self.graph.constant(node.input[2])
        if bias is None:
            return "its bias is computed, not constant"
        return None if bias.ndim == 1 and bias.size == channels else f"its bias has shape {list(bias.shape)}"

    def _as_weighted(self, node: onnx.NodeProto) -> WeightedNode:
        rank = len(self.graph.initializers[node.input[1]].dims)
        # A batch of matrices, or a grouped transposed convolution, has no axis of its own for each output channel.
        simple = rank == 2 if node.op_type == "MatMul" else output_channel_axis(node) is not None
        return WeightedNode(
            node=node.name,
            input=node.input[0],
            weight=node.input[1],
            axis=_channel_axis(node, rank) if self.flavour.per_channel and simple else None,
            bias=node.input[2] if len(node.input) > 2 and node.input[2] else None,
        )

    def _missing(self, node: onnx.NodeProto, available: set[str]) -> str | None:
        """Return the reason why a cheap node cannot join; None where it can."""
        if node.op_type in self.kernels.absorbed:
            return self._why_not_absorbed(node)
        if node.op_type == "Resize" and attribute(node, "mode", b"nearest") != b"nearest":
            return "it interpolates"
        if _has_no_int8_kernel(node):
            return f"{self.kernels.back_end} has no int8 kernel for its dilations"
        inputs = [node.input[0]] if node.op_type in self.kernels.moving else list(node.input)
        computed = [name for name in inputs if name not in self.graph.initializers]
        absent = [name for name in computed if name not in available]
        if absent or not computed:
            return f"its input {absent[0]} is float" if absent else "its inputs are constant"
        constant = [name for name in inputs if name in self.graph.initializers]
        return None if all(map(self.graph.is_float32, constant)) else "its constant is not float32"

    def _why_not_absorbed(self, node: onnx.NodeProto) -> str | None:
        source = self.graph.producers.get(node.input[0])
        if self.flavour.symmetric:
            return "with zero point 0 the quantization behind it does not replace it"
        if node.op_type == "Clip" and not self._clips_at_zero(node):
            return "it does not clip at 0"
        arithmetic = source is not None and (
            source.name in self.weighted
            or (source.name in self.cheap and source.op_type in self.kernels.chained | self.kernels.absorbed)
        )
        if not arithmetic or self.graph.only_consumer(node.input[0]) is None:
            return "no int8 kernel before it writes for it alone"
        return None

    def _clips_at_zero(self, node: onnx.NodeProto) -> bool:
        low = self.graph.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        computed_high = len(node.input) > 2 and node.input[2] and self.graph.constant(node.input[2]) is None
        return low is not None and float(low) == 0 and not computed_high

    def _read_in_int8(self, node: onnx.NodeProto) -> bool:
        """Whether an int8 kernel reads the node's output."""
        return any(
            name in (reader.input[index] for index in self._activation_inputs(reader))
            or (self._is_absorbed(reader) and reader.input[0] == name)
            for name in node.output
            for reader in self.graph.consumers.get(name, [])
        )

    def _activation_inputs(self, node: onnx.NodeProto) -> list[int]:
        """Return the indices of the inputs that the node's int8 kernel reads; empty for a float node."""
        if node.name in self.weighted or (node.name in self.cheap and self._moves(node)):
            return [0]
        if node.name in self.cheap and node.op_type in self.kernels.chained:
            return list(range(len(node.input)))
        return []

    def _written(self, node: onnx.NodeProto) -> list[str]:
        """Return the tensors that are in int8 because this node makes them."""
        if not self.kernels.writes_int8 or not self._in_int8(node):
            return []
        if node.name in self.weighted and not self._needs_int8_output(node) and not self._read_in_int8(node):
            return []
        reader = self.graph.only_consumer(node.output[0])
        if reader is not None and self._is_absorbed(reader):
            return []  # the activation writes it
        return [name for name in node.output if self.graph.is_float32(name)]

    def _needs_int8_output(self, node: onnx.NodeProto) -> bool:
        return node.name in self.weighted and node.op_type in self.kernels.needs_int8_output

    def _fuses(self, name: str) -> bool:
        source = self.graph.producers.get(name)
        return (
            source is not None
            and source.name in self.weighted
            and source.op_type in ("Conv", "ConvTranspose")
            and self.graph.only_consumer(name) is not None
        )

    def _in_int8(self, node: onnx.NodeProto) -> bool:
        return node.name in self.weighted or node.name in self.cheap

    def _is_absorbed(self, node: onnx.NodeProto) -> bool:
        return node.name in self.cheap and node.op_type in self.kernels.absorbed

    def _moves(self, node: onnx.NodeProto) -> bool:
        return node.op_type in self.kernels.moving

    def _excluded(self, node: onnx.NodeProto) -> bool:
        return node.name in self.settings.exclude_nodes or node.op_type in self.settings.exclude_ops


def _has_no_int8_kernel(node: onnx.NodeProto) -> bool:
    """Whether a pool has no int8 kernel, because it skips values between those that it reads."""
    return node.op_type == "AveragePool" and bool(set(attribute(node, "dilations", ())) - {1})


def _channel_axis(node: onnx.NodeProto, rank: int) -> int:
    """Return the weight's axis over output channels, for every weighted operator."""
    if node.op_type == "MatMul":
        return rank - 1
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if node.op_type == "ConvTranspose" else 0


def _check_excluded(graph: Graph, settings: Settings) -> None:
    names = [node.name for node in graph.nodes]
    for name in settings.exclude_nodes:
        if name not in names:
            hint = did_you_mean(name, names) or "compress inspect lists the nodes"
            raise RecipeError("exclude_nodes with names of this network's nodes", repr(name), hint)
