"""Dynamic int8: matrix products whose input is quantized while the network runs, by its own smallest and largest value.

No calibration, and no range that the next input could leave, so transformers lose next to nothing; the price is a pass
over every input. Written in standard operators, which ONNX Runtime fuses into one (``DynamicQuantizeMatMul``):

    x_q, s_x, z_x = DynamicQuantizeLinear(x)
    y = Cast(MatMulInteger(x_q, W_q, z_x)) · (s_x · s_W) + b
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from compress.errors import NetworkError
from compress.onnx_graph.fold import infer_shapes, prepare, remove_unused
from compress.onnx_graph.graph import Graph, attribute, replace_nodes
from compress.onnx_graph.quantized import quantized_operator
from compress.quantization.grid import quantize_weight, weight_scales
from compress.quantization.matrices import is_plain
from compress.target.target import QuantizationFlavour


def quantize_dynamic(
    model: onnx.ModelProto, flavour: QuantizationFlavour, exclude_nodes: tuple[str, ...] = ()
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Quantize MatMul and Gemm by constant matrices dynamically.

    Args:
        model: A float32 network; it is not modified.
        flavour: Flavour, for granularity and width of the weights.
        exclude_nodes: Names of nodes that stay float, as in the prepared graph.

    Returns:
        The quantized model, with the same inputs and outputs, and the names of the quantized nodes.

    Raises:
        NetworkError: The model breaks ONNX's rules, is quantized already, or has no such product.
    """
    prepared = prepare(model, store_twice=True)
    operator = quantized_operator(prepared)
    if operator is not None:
        raise NetworkError(
            "a float network", f"{operator} in it: it is quantized already", "give the float one"
        )
    writer = _Writer(prepared, flavour)
    chosen = [
        node for node in writer.graph.nodes if node.name not in exclude_nodes and _fits(node, writer.graph)
    ]
    if not chosen:
        raise NetworkError(
            "a network with MatMul or Gemm by constant matrices",
            "none that is not excluded",
            "quantize it statically, or leave it in float",
        )
    names = {node.name for node in chosen}
    nodes = []
    for node in writer.graph.nodes:
        nodes += writer.quantized(node) if node.name in names else [node]
    replace_nodes(prepared, nodes)
    remove_unused(prepared)
    infer_shapes(prepared)
    return prepared, tuple(node.name for node in chosen)


def _fits(node: onnx.NodeProto, graph: Graph) -> bool:
    if node.op_type not in ("MatMul", "Gemm"):
        return False
    weight = graph.constant(node.input[1])
    if weight is None or weight.dtype != np.float32 or weight.ndim != 2 or not weight.size:
        return False
    return (
        is_plain(node, weight)
        and node.input[0] not in graph.initializers
        and graph.is_float32(node.output[0])
    )


@dataclass
class _Writer:
    model: onnx.ModelProto
    flavour: QuantizationFlavour
    graph: Graph = field(init=False)
    inputs: dict[str, tuple[str, str, str]] = field(
        default_factory=dict
    )  # tensor → integers, scale, zero point

    def __post_init__(self) -> None:
        self.graph = Graph(self.model)

    def quantized(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return the nodes that replace a product."""
        weight = np.asarray(self.graph.constant(node.input[1]))
        if node.op_type == "Gemm" and attribute(node, "transB", 0):
            weight = np.ascontiguousarray(weight.T)
        axis = 1 if self.flavour.per_channel else None
        scales = weight_scales(weight, axis, self.flavour)
        stored = self.graph.store(f"{node.input[1]}_quantized", quantize_weight(weight, scales, axis))
        steps = self.graph.store(f"{node.input[1]}_scale", scales.reshape(-1))
        nodes, (integers, scale, zero_point) = self._input(node.input[0])
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None

        def add(op_type: str, inputs: list[str], output: str | None = None, **attributes: int) -> str:
            output_name = output or self.graph.free_name(f"{node.output[0]}_{op_type}")
            name = node.name if op_type == "MatMulInteger" else f"{output_name}_{op_type}"
            nodes.append(onnx.helper.make_node(op_type, inputs, [output_name], name=name, **attributes))
            return output_name

        product = add("MatMulInteger", [integers, stored, zero_point])
        product = add("Cast", [product], to=onnx.TensorProto.FLOAT)
        both = add("Mul", [scale, steps], self.graph.free_name(f"{node.output[0]}_scale"))
        result = add("Mul", [product, both], None if bias else node.output[0])
        if bias:
            add("Add", [result, bias], node.output[0])
        return nodes

    def _input(self, name: str) -> tuple[list[onnx.NodeProto], tuple[str, str, str]]:
        """Return the nodes that quantize an activation, once for all its readers."""
        if name in self.inputs:
            return [], self.inputs[name]
        names = [self.graph.free_name(f"{name}_{part}") for part in ("quantized", "scale", "zero_point")]
        self.inputs[name] = (names[0], names[1], names[2])
        node = onnx.helper.make_node(
            "DynamicQuantizeLinear", [name], names, name=f"{name}_DynamicQuantizeLinear"
        )
        return [node], self.inputs[name]
