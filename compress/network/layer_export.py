"""Export of a few consecutive layers as an ONNX model of fixed shapes, to be timed alone.

Written out node by node: the exporter takes a second for each, and there are hundreds to time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compress.network.onnx_export import OPSET

_IR_VERSION = 9  # of opset 20


def export_layers(layers: Sequence[nn.Module], input_shape: Sequence[int]) -> onnx.ModelProto:
    """Export consecutive linear layers and convolutions, in float32.

    Args:
        layers: Layers, each an ``nn.Linear`` or an ``nn.Conv1d``, ``nn.Conv2d`` or ``nn.Conv3d`` padded with zeros.
        input_shape: Shape of the first layer's input, batch included.

    Returns:
        A model from ``x`` to ``y``, with the operators that the whole network's export has.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    input_name = "x"

    def constant(name: str, values: torch.Tensor) -> str:
        array = values.detach().cpu().float().numpy()
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    with torch.no_grad():
        result = torch.empty(*input_shape, device="meta")
        for number, layer in enumerate(layers):
            output_name = "y" if number == len(layers) - 1 else f"between_{number}"
            weight, bias = layer.weight, layer.bias
            assert isinstance(weight, torch.Tensor)
            assert bias is None or isinstance(bias, torch.Tensor)
            matrix = isinstance(layer, nn.Linear) and result.dim() != 2
            reads = [input_name, constant(f"weight_{number}", weight.T if matrix else weight)]
            if matrix:
                product = output_name if bias is None else f"product_{number}"
                nodes.append(helper.make_node("MatMul", reads, [product], f"matmul_{number}"))
                if bias is not None:
                    added = [product, constant(f"bias_{number}", bias)]
                    nodes.append(helper.make_node("Add", added, [output_name], f"add_{number}"))
            else:
                reads += [] if bias is None else [constant(f"bias_{number}", bias)]
                nodes.append(_node(layer, reads, output_name, number))
            result, input_name = _shape_after(layer, result), output_name
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", list(input_shape)), ("y", list(result.shape)))
    ]
    graph = helper.make_graph(nodes, "layers", tensors[:1], tensors[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)


def _node(layer: nn.Module, reads: list[str], output_name: str, number: int) -> onnx.NodeProto:
    if isinstance(layer, nn.Linear):
        return helper.make_node("Gemm", reads, [output_name], f"gemm_{number}", transB=1)
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return helper.make_node(
        "Conv",
        reads,
        [output_name],
        f"conv_{number}",
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        dilations=list(layer.dilation),
        pads=_pads(layer),
        group=layer.groups,
    )


def _pads(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> list[int]:
    """Return the padding before each axis, then after each."""
    if not isinstance(layer.padding, str):
        return [*layer.padding, *layer.padding]
    if layer.padding == "valid":
        return [0] * (2 * len(layer.kernel_size))
    both = [rate * (size - 1) for rate, size in zip(layer.dilation, layer.kernel_size, strict=True)]
    return [*(pad // 2 for pad in both), *(pad - pad // 2 for pad in both)]


def _shape_after(layer: nn.Module, tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, nn.Linear):
        return tensor.new_empty(*tensor.shape[:-1], layer.out_features)
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    pads = _pads(layer)
    axes = len(layer.kernel_size)
    sizes = [
        (
            tensor.shape[2 + at]
            + pads[at]
            + pads[axes + at]
            - layer.dilation[at] * (layer.kernel_size[at] - 1)
            - 1
        )
        // layer.stride[at]
        + 1
        for at in range(axes)
    ]
    return tensor.new_empty(tensor.shape[0], layer.out_channels, *sizes)
