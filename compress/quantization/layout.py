"""Reshapes that keep ONNX Runtime from moving a change of layout through operators that it would break.

Its int8 convolutions compute with the channels last. The transpositions around them move through the graph until they
cancel, and through some operators that are then invalid, or read their axes wrong: bicubic Resize, and Resize and Pad
that name their axes. A Reshape to the same shape stops them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from compress.onnx_graph.fold import infer_shapes
from compress.onnx_graph.graph import Graph, attribute, replace_nodes


def hold_layout(model: onnx.ModelProto) -> None:
    """Put a Reshape to the same shape before the operators that ONNX Runtime's change of layout breaks, in place.

    Args:
        model: Model with inferred shapes.
    """
    graph = Graph(model)
    nodes: list[onnx.NodeProto] = []
    held_any = False
    for node in graph.nodes:
        rank = graph.rank(node.input[0]) if _breaks(node) else None
        if rank:
            same = graph.store(f"{node.output[0]}_same_shape", np.zeros(rank, np.int64))
            held = graph.free_name(f"{node.input[0]}_held")
            name = f"{node.name}_layout"
            nodes.append(helper.make_node("Reshape", [node.input[0], same], [held], name))
            node.input[0] = held
            held_any = True
        nodes.append(node)
    if held_any:
        replace_nodes(model, nodes)
        infer_shapes(model)


def _breaks(node: onnx.NodeProto) -> bool:
    if node.op_type == "Pad":
        return len(node.input) > 3 and bool(node.input[3])
    if node.op_type != "Resize":
        return False
    region = len(node.input) > 1 and bool(node.input[1])
    return attribute(node, "mode") == b"cubic" or attribute(node, "axes") is not None or region
