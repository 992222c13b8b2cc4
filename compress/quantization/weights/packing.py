"""Matrix products become ONNX Runtime's MatMulNBits, whose weights are packed integers.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph, replace_nodes
from compress.quantization.weights.grouped import Grid, GroupedWeight
from compress.quantization.weights.layers import Layer

DOMAIN = "com.microsoft"
_ACCURACY_LEVELS = {"float32": 1, "int8": 4}


def pack(model: onnx.ModelProto, layer: Layer, weight: GroupedWeight, compute: str) -> None:
    """Replace one layer's nodes in place; see :func:`pack_all`."""
    pack_all(model, [(layer, weight)], compute)


def pack_all(model: onnx.ModelProto, weights: Iterable[tuple[Layer, GroupedWeight]], compute: str) -> None:
    """Replace layers' nodes in place; their old weights stay as unused initialisers.

    Args:
        model: Model with the layers.
        weights: Pairs of a layer, from :func:`compress.quantization.weights.layers.find_layers` of this model, and its
            new weight.
        compute: Precision of the products, one of :data:`compress.quantization.weights.settings.COMPUTE`.
    """
    graph = Graph(model)
    instead: dict[str, list[onnx.NodeProto]] = {}
    for layer, weight in weights:
        constants, scaled_by = _stored(layer, weight, graph)
        for node in graph.consumers[layer.initializer]:
            if node.name in layer.nodes:
                instead[node.name] = _instead(node, graph, weight, constants, scaled_by, compute)
    replace_nodes(model, [new_node for node in graph.nodes for new_node in instead.get(node.name, [node])])
    if all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))


def _stored(layer: Layer, weight: GroupedWeight, graph: Graph) -> tuple[list[str], str | None]:
    """Return the constants of a layer's operator, and the factors of its input, if any."""
    stored = [
        graph.store(f"{layer.initializer}_{name}", values) for name, values in packed_arrays(weight).items()
    ]
    scaled_by = (
        None
        if weight.input_scales is None
        else graph.store(f"{layer.initializer}_input_scales", weight.input_scales)
    )
    return stored, scaled_by


def _instead(
    node: onnx.NodeProto,
    graph: Graph,
    weight: GroupedWeight,
    stored: list[str],
    scaled_by: str | None,
    compute: str,
) -> list[onnx.NodeProto]:
    nodes = []
    source, result = node.input[0], node.output[0]
    if scaled_by is not None:
        scaled = graph.free_name(f"{result}_scaled_input")
        nodes.append(onnx.helper.make_node("Mul", [source, scaled_by], [scaled], name=f"{node.name}_scale"))
        source = scaled
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    product = graph.free_name(f"{result}_product") if bias else result
    nodes.append(product_node(node.name, source, stored, product, weight.grid, compute))
    if bias:
        nodes.append(onnx.helper.make_node("Add", [product, bias], [result], name=f"{node.name}_bias"))
    return nodes


def packed_arrays(weight: GroupedWeight) -> dict[str, NDArray[Any]]:
    """Return the constants of MatMulNBits by what they are, in the order of its inputs.

    Returns:
        ``packed``, uint8 [outputs, groups, bytes]; ``scales``, float32 [outputs, groups]; and where the weight has
        them ``zero_points``, uint8 [outputs, bytes] or float32 [outputs, groups].
    """
    arrays: dict[str, NDArray[Any]] = {
        "packed": _packed(weight.integers, weight.bits),
        "scales": weight.scales,
    }
    if weight.zero_points is not None:
        zero_points = weight.zero_points
        if zero_points.dtype == np.uint8:
            zero_points = _packed(zero_points.astype(np.uint8), weight.bits)
        arrays["zero_points"] = zero_points
    return arrays


def product_node(
    name: str, source: str, stored: Sequence[str], result: str, grid: Grid, compute: str
) -> onnx.NodeProto:
    """Return the node that multiplies by a packed weight.

    Args:
        name: Name of the node.
        source: Name of the tensor to multiply, scaled already where the weight has scales of its input.
        stored: Names of the constants, in the order of :func:`packed_arrays`.
        result: Name of the product.
        grid: Sizes of the weight.
        compute: Precision of the products, one of :data:`compress.quantization.weights.settings.COMPUTE`.
    """
    return onnx.helper.make_node(
        "MatMulNBits",
        [source, *stored],
        [result],
        name=name,
        domain=DOMAIN,
        K=grid.inputs,
        N=grid.outputs,
        bits=grid.bits,
        block_size=grid.group_size,
        accuracy_level=_ACCURACY_LEVELS[compute],
    )


def _packed(integers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack two 4-bit integers into each byte along the last axis, the first in the lower half."""
    if bits == 8:
        return integers
    missing = integers.shape[-1] % 2
    even = np.pad(integers, [(0, 0)] * (integers.ndim - 1) + [(0, missing)])
    return (even[..., 0::2] | (even[..., 1::2] << 4)).astype(np.uint8)


def unpacked(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Unpack ``count`` 4-bit integers along the last axis."""
    if bits == 8:
        return packed[..., :count]
    pairs: NDArray[np.uint8] = np.stack([packed & 0x0F, packed >> 4], axis=-1)
    return pairs.reshape(*packed.shape[:-1], -1)[..., :count]
