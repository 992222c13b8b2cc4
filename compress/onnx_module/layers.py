"""Operators with weights, pooling, and normalisation, in inference mode."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from compress.onnx_module.elementwise import Attributes, Operator
from compress.onnx_module.refusal import untrainable

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMA = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _pads(
    attributes: Attributes, sizes: list[int], kernel: list[int], stride: list[int], dilation: list[int]
) -> tuple[list[int], list[int]]:
    """Return the rows added before and after each spatial axis."""
    axes = len(sizes)
    mode = attributes.get("auto_pad", b"NOTSET").decode()
    if mode == "NOTSET":
        all_pads = list(attributes.get("pads", [0] * (2 * axes)))
        return all_pads[:axes], all_pads[axes:]
    if mode == "VALID":
        return [0] * axes, [0] * axes
    by_axis = zip(sizes, kernel, stride, dilation, strict=True)
    total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in by_axis]
    less = [amount // 2 for amount in total]
    more = [amount - half for amount, half in zip(total, less, strict=True)]
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def _padded(x: Tensor, before: list[int], after: list[int], value: float) -> tuple[Tensor, list[int]]:
    """Return the input padded where torch cannot, and the padding that it can: equal on both sides."""
    if before == after:
        return x, before
    pairs = [amount for pair in zip(reversed(before), reversed(after), strict=True) for amount in pair]
    return F.pad(x, pairs, value=value), [0] * len(before)


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes, kernel = x.dim() - 2, list(weight.shape[2:])
    stride, dilation = attributes.get("strides", [1] * axes), attributes.get("dilations", [1] * axes)
    x, padding = _padded(x, *_pads(attributes, list(x.shape[2:]), kernel, stride, dilation), 0.0)
    return _CONVOLUTIONS[axes](
        x, weight, bias, list(stride), padding, list(dilation), attributes.get("group", 1)
    )


def _conv_transpose(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    axes = x.dim() - 2
    pads = list(attributes.get("pads", [0] * (2 * axes)))
    if (
        pads[:axes] != pads[axes:]
        or "output_shape" in attributes
        or attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
    ):
        raise untrainable("ConvTranspose with pads that differ, or that follow from an output shape")
    return _TRANSPOSED[axes](
        x,
        weight,
        bias,
        list(attributes.get("strides", [1] * axes)),
        pads[:axes],
        list(attributes.get("output_padding", [0] * axes)),
        attributes.get("group", 1),
        list(attributes.get("dilations", [1] * axes)),
    )


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if attributes.get("transA", 0) else a
    b = b if attributes.get("transB", 0) else b.t()
    alpha: float = attributes.get("alpha", 1.0)
    beta: float = attributes.get("beta", 1.0)
    if alpha == 1 and (c is None or (beta == 1 and c.shape == b.shape[:1])):
        return F.linear(a, b, c)
    product = alpha * F.linear(a, b)
    return product if c is None else product + beta * c


def _average_pool(attributes: Attributes, x: Tensor) -> Tensor:
    axes, kernel = x.dim() - 2, list(attributes["kernel_shape"])
    stride = list(attributes.get("strides", [1] * axes))
    before, after = _pads(attributes, list(x.shape[2:]), kernel, stride, [1] * axes)
    counts_padding = bool(attributes.get("count_include_pad", 0))
    ceils = bool(attributes.get("ceil_mode", 0))
    if (before != after and not counts_padding) or set(attributes.get("dilations", (1,))) != {1}:
        raise untrainable("AveragePool with dilations, or with pads that differ")
    x, padding = _padded(x, before, after, 0.0)
    return _AVERAGES[axes](x, kernel, stride, padding, ceils, counts_padding)


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    axes, kernel = x.dim() - 2, list(attributes["kernel_shape"])
    stride = list(attributes.get("strides", [1] * axes))
    dilation = list(attributes.get("dilations", [1] * axes))
    before, after = _pads(attributes, list(x.shape[2:]), kernel, stride, dilation)
    x, padding = _padded(x, before, after, -math.inf)
    return _MAXIMA[axes](x, kernel, stride, padding, dilation, bool(attributes.get("ceil_mode", 0)))


def _spatial_axes(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


def _batch_norm(
    attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    if attributes.get("training_mode", 0):
        raise untrainable("BatchNormalization in training mode")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, attributes.get("epsilon", 1e-5))


def _layer_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[attributes.get("axis", -1) :]
    normal = F.layer_norm(x, shape, None, None, attributes.get("epsilon", 1e-5)) * scale
    return normal if bias is None else normal + bias


def _instance_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=attributes.get("epsilon", 1e-5))


def _einsum(attributes: Attributes, *inputs: Tensor) -> Tensor:
    return torch.einsum(attributes["equation"].decode(), *inputs)


#: ONNX's name → ``operator(attributes, *inputs)``; an input that is left out is None.
LAYERS: dict[str, Operator] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x.mean(_spatial_axes(x), keepdim=True),
    "GlobalMaxPool": lambda _, x: x.amax(_spatial_axes(x), keepdim=True),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": lambda _, a, b: torch.matmul(a, b),
    "MaxPool": _max_pool,
}
