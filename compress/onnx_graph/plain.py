"""Operators written in the form that every runtime, and every int8 kernel, reads: fewer attributes, all axes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from compress.onnx_graph.graph import Graph, attribute, replace_nodes


def plain_pools(model: onnx.ModelProto) -> None:
    """Drop dilations of 1 from AveragePool: they are the default, and ONNX Runtime's int8 pool refuses the word."""
    for node in model.graph.node:
        if node.op_type == "AveragePool" and set(attribute(node, "dilations", ())) == {1}:
            attributes_left = [entry for entry in node.attribute if entry.name != "dilations"]
            node.ClearField("attribute")
            node.attribute.extend(attributes_left)


def convolution_instead_of_dilated_pool(model: onnx.ModelProto) -> None:
    """Write AveragePool with dilations as a convolution of each channel with a constant, in place.

    TensorRT has no such pool, and ONNX Runtime none in int8. Where padding is left out of the mean it stays.
    """
    graph = Graph(model)
    nodes = []
    for node in graph.nodes:
        dilated = node.op_type == "AveragePool" and attribute(node, "dilations") is not None
        shape = graph.shape(node.input[0]) if dilated else None
        channels = shape[1] if shape is not None and len(shape) > 2 else None
        padded = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", b"NOTSET") not in (
            b"NOTSET",
            b"VALID",
        )
        counted = bool(attribute(node, "count_include_pad", 0))
        if not isinstance(channels, int) or attribute(node, "ceil_mode", 0) or (padded and not counted):
            nodes.append(node)
            continue
        kernel = attribute(node, "kernel_shape")
        weight = np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32)
        if not graph.is_float32(node.input[0]):
            nodes.append(node)
            continue
        options = {
            name: attribute(node, name)
            for name in ("kernel_shape", "dilations", "strides", "pads", "auto_pad")
            if attribute(node, name) is not None
        }
        name = graph.store(f"{node.output[0]}_mean", weight)
        nodes.append(
            helper.make_node("Conv", [node.input[0], name], node.output, node.name, group=channels, **options)
        )
    replace_nodes(model, nodes)


def all_axes_padded(model: onnx.ModelProto) -> None:
    """Give Pad its amounts for all axes where it names some: ONNX Runtime's int8 layout mixes these up."""
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type != "Pad" or len(node.input) < 4 or not node.input[3]:
            continue
        pads, axes, rank = (
            graph.constant(node.input[1]),
            graph.constant(node.input[3]),
            graph.rank(node.input[0]),
        )
        if pads is None or axes is None or rank is None:
            continue
        amounts = np.zeros((2, rank), np.int64)
        amounts[:, axes.astype(np.int64) % rank] = pads.reshape(2, -1)
        node.input[1] = graph.store(f"{node.output[0]}_pads", amounts.reshape(-1))
        del node.input[3]
        if not node.input[-1]:
            del node.input[-1]


def all_axes_resized(model: onnx.ModelProto) -> None:
    """Give Resize a scale for every axis where it names some, in place; see :func:`all_axes_padded`."""
    graph = Graph(model)
    for node in graph.nodes:
        axes, shape = attribute(node, "axes") if node.op_type == "Resize" else None, None
        if axes is not None:
            shape = graph.shape(node.input[0])
        if axes is None or shape is None or (len(node.input) > 1 and node.input[1]):
            continue  # the region of interest has axes too
        axes = [axis % len(shape) for axis in axes]
        scales = _scales(node, graph, [shape[axis] for axis in axes])
        if scales is None:
            continue
        all_scales = np.ones(len(shape), np.float32)
        all_scales[axes] = scales
        name = graph.store(f"{node.output[0]}_scales", all_scales)
        attributes_left = [
            entry for entry in node.attribute if entry.name not in ("axes", "keep_aspect_ratio_policy")
        ]
        node.ClearField("attribute")
        node.attribute.extend(attributes_left)
        node.input[:] = [node.input[0], "", name]


def _scales(node: onnx.NodeProto, graph: Graph, sizes_before: list[int | str | None]) -> np.ndarray | None:
    """Return constant scales of the axes that a Resize names; None where they are unknown, or give other sizes."""
    if len(node.input) > 2 and node.input[2]:
        scales = graph.constant(node.input[2])
        return None if scales is None or not scales.size else scales
    sizes = graph.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    if sizes is None or not all(isinstance(size, int) and size > 0 for size in sizes_before):
        return None
    before = np.array(sizes_before, np.float64)
    scales = sizes / before
    policy = attribute(node, "keep_aspect_ratio_policy", b"stretch")
    if policy != b"stretch":
        scale = scales.min() if policy == b"not_larger" else scales.max()
        scales, sizes = np.full(len(before), scale), np.floor(scale * before + 0.5)
    rounded = scales.astype(np.float32)
    up = np.nextafter(rounded, np.float32(np.inf))
    # Runtimes round size × scale down, one in float32 and the next in float64.
    rounded = np.where(np.floor(before * rounded) < sizes, up, rounded)
    sizes_after = np.floor(before * rounded), np.floor(np.float32(before) * rounded)
    return rounded if all(np.array_equal(sizes_made, sizes) for sizes_made in sizes_after) else None
