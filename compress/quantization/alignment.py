"""Give int8 convolutions as many input channels as the fast kernel takes.

ONNX Runtime's fast int8 convolution on x86 (MLAS ``convsym.cpp``) needs input channels in multiples of four; with
one or three, as images have, it falls back to one that was 1.3 to 4 times slower. Channels that meet zero weights
change nothing in the result.
"""

from __future__ import annotations

import numpy as np
import onnx

from compress.onnx_graph.graph import Graph, attribute, replace_nodes

_MULTIPLE = 4  # input channels, and output channels too
_FEWEST_OUTPUT_CHANNELS = 16  # below it the fast kernel is not used anyway


def align_input_channels(model: onnx.ModelProto) -> None:
    """Repeat channels of the quantized input, and pad the int8 weight with zeros, in place.

    Args:
        model: Model with Q/DQ that :func:`compress.quantization.insertion.insert` returned.
    """
    graph = Graph(model)
    nodes = []
    for node in graph.nodes:
        nodes += [*_aligned_input(node, graph), node] if node.op_type == "Conv" else [node]
    replace_nodes(model, nodes)


def _aligned_input(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """Return the nodes that widen a convolution's input; empty where it fits already."""
    activation, stored = (graph.producers.get(name) for name in node.input[:2])
    if activation is None or stored is None or activation.op_type != "DequantizeLinear":
        return []
    weight = graph.constant(stored.input[0])  # int8 [output channels, input channels / group, …]
    if stored.op_type != "DequantizeLinear" or weight is None:
        return []
    if attribute(node, "group", 1) != 1 or not weight.shape[1] % _MULTIPLE:
        return []
    if weight.shape[0] < _FEWEST_OUTPUT_CHANNELS or weight.shape[0] % _MULTIPLE:
        return []
    missing = -weight.shape[1] % _MULTIPLE
    padding = [(0, 0), (0, missing), *[(0, 0)] * (weight.ndim - 2)]
    name = f"{node.name}_aligned"
    channels = graph.store(f"{name}_channels", np.array([*range(weight.shape[1]), *[0] * missing], np.int64))
    padded = graph.store(f"{name}_weight", np.pad(weight, padding))
    wide, read, dequantized = (
        graph.free_name(f"{name}_{what}") for what in ("input", "input_dequantized", "weight_dequantized")
    )
    axis = attribute(stored, "axis", 1)
    added = [
        onnx.helper.make_node("Gather", [activation.input[0], channels], [wide], axis=1),
        onnx.helper.make_node("DequantizeLinear", [wide, *activation.input[1:]], [read]),
        onnx.helper.make_node("DequantizeLinear", [padded, *stored.input[1:]], [dequantized], axis=axis),
    ]
    for number, new_node in enumerate(added):
        new_node.name = f"{name}_{new_node.op_type}_{number}"
    node.input[0], node.input[1] = read, dequantized
    return added
