"""A graph in a newer opset than it was exported in.

ONNX's own converter does it, apart from what it gets wrong: Upsample, and Resize before opset 11, sample at
output ÷ scale ("asymmetric"), where Resize's default is the middle of the pixel ever since; and Hardmax before opset 13
is over all axes from its own on, as Softmax is, which the converter does for that one alone.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.version_converter
from onnx import helper, numpy_helper

from compress.errors import NetworkError
from compress.onnx_graph.graph import Graph, attribute, graphs
from compress.onnx_graph.weights import without_files

#: Resize says from here on where it samples.
_RESIZE_SAYS_WHERE = 11

#: Hardmax is along one axis from here on, and its default is the last one.
_HARDMAX_ALONG_ONE_AXIS = 13

#: The first version of the format in which weights need not be listed as inputs.
LOWEST_IR = 4


def raise_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the model in an opset, or unchanged where it is in a newer one.

    Args:
        model: Legal model without local functions; it is not modified. Its large weights may lie in files.
        opset: Lowest opset of the result.

    Returns:
        The same model, or a new one with all its weights inside.

    Raises:
        NetworkError: An operator has no form in that opset.
    """
    current = Graph(model).opset
    if current >= opset:
        return model
    with_weights = without_files(model)
    with_weights.ir_version = max(with_weights.ir_version, LOWEST_IR)
    if current < _HARDMAX_ALONG_ONE_AXIS <= opset:
        _flatten_before_hardmax(with_weights.graph)
    sampled = _sampled(with_weights.graph, current, opset)
    try:
        raised = onnx.version_converter.convert_version(with_weights, opset)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        reason = " ".join(str(error).split()).rpartition("failed: ")[2][:200]
        raise NetworkError(
            f"a model of opset {opset} or later",
            f"opset {current}, which cannot be converted ({reason})",
            f"export the network again with opset {opset} or later",
        ) from error
    # The converter keeps their order, and not their names.
    for graph, modes in zip(graphs(raised.graph), sampled, strict=bool(sampled)):
        for node, mode in zip(_resizing(graph), modes, strict=True):
            _set(node, coordinate_transformation_mode="asymmetric", nearest_mode=mode)
    least = helper.find_min_ir_version_for(raised.opset_import, ignore_unknown=True)
    raised.ir_version = max(raised.ir_version, least)
    return raised


def _sampled(graph: onnx.GraphProto, current: int, opset: int) -> list[list[str]]:
    """Return for each graph which of two values each resizing node takes, in order; empty from opset 11 on.

    That is the one before output ÷ scale, and the one behind it where all axes get shorter.
    """
    if current >= _RESIZE_SAYS_WHERE or opset < _RESIZE_SAYS_WHERE:
        return []
    return [
        ["ceil" if _makes_smaller(node, _constants(inner)) else "floor" for node in _resizing(inner)]
        for inner in graphs(graph)
    ]


def _resizing(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [
        node
        for node in graph.node
        if node.op_type in ("Upsample", "Resize") and node.domain in ("", "ai.onnx")
    ]


def _makes_smaller(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether every axis that changes gets shorter; the runtime then takes the nearest value behind."""
    scales = attribute(node, "scales")
    if scales is None and len(node.input) > 1 and node.input[1] in constants:
        scales = numpy_helper.to_array(constants[node.input[1]])
    scales = np.asarray(() if scales is None else scales)
    return bool(len(scales) and (scales <= 1).all() and (scales < 1).any())


def _flatten_before_hardmax(graph: onnx.GraphProto) -> None:
    """Write Hardmax over axes from its own on as Hardmax of a matrix, which means the same in every opset."""
    for inner in graphs(graph):
        nodes = []
        for node in inner.node:
            if node.op_type != "Hardmax" or node.domain not in ("", "ai.onnx"):
                nodes.append(node)
                continue
            stem = f"{node.output[0]}_hardmax"
            axis = attribute(node, "axis", 1)
            nodes += [
                helper.make_node("Shape", [node.input[0]], [f"{stem}_shape"]),
                helper.make_node("Flatten", [node.input[0]], [f"{stem}_rows"], axis=axis),
                helper.make_node("Hardmax", [f"{stem}_rows"], [f"{stem}_of_rows"], node.name, axis=1),
                helper.make_node("Reshape", [f"{stem}_of_rows", f"{stem}_shape"], [node.output[0]]),
            ]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del inner.node[:]
        inner.node.extend(copies)


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if isinstance(value, onnx.TensorProto):
            constants[node.output[0]] = value
    return constants


def _set(node: onnx.NodeProto, **values: str) -> None:
    attributes_left = [entry for entry in node.attribute if entry.name not in values]
    node.ClearField("attribute")
    node.attribute.extend(attributes_left)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())
