"""A layer written as two, W = B·A, with as many features between them as its weight has singular values.

Cutting the features between them to those that carry most of the signal makes the pair cheaper than the layer:

- ``channels``: the layer with fewer outputs, then a 1×1 layer back to all of them (Zhang et al. 2015, arXiv
  1505.06798); of a Linear layer, the truncated SVD of its matrix.
- ``spatial``: a k×1 convolution, then a 1×k one (Jaderberg, Vedaldi and Zisserman 2014, arXiv 1405.3866).

The whole of what lies between, ``z``, has a row of ``rows`` for each of its features; an orthonormal basis V of it
gives the two weights, ``Vᵀ·rows`` and V.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer = nn.Linear | Convolution

#: Schemes of splitting a layer.
SCHEMES = ("channels", "spatial")


@dataclass(frozen=True)
class Split:
    """One way to write a layer as two.

    Attributes:
        scheme: Scheme of the split: ``channels`` or ``spatial``.
        layer: Layer to split; it is not changed.
        rows: Weights of the first layer at full rank, ``[features, inputs·kernel]``.
    """

    scheme: str
    layer: Layer
    rows: Tensor

    @property
    def full_rank(self) -> int:
        """Number of features that represent the layer exactly."""
        return min(self.rows.shape)

    def first(self, weight: Tensor) -> Layer:
        """Return the first layer, without a bias.

        Args:
            weight: Weight of the layer, ``[rank, inputs·kernel]``.
        """
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return _linear(weight, None, layer)
        if self.scheme == "channels":
            shape = (len(weight), *layer.weight.shape[1:])
            settings = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            return _convolution(weight.reshape(shape), None, layer, settings)
        return _convolution(
            weight.reshape(len(weight), layer.in_channels, layer.kernel_size[0], 1),
            None,
            layer,
            _settings(layer, axis=0),
        )

    def second(self, basis: Tensor, bias: Tensor | None) -> Layer:
        """Return the second layer.

        Args:
            basis: Basis of the features, ``[features, rank]``.
            bias: Bias ``[outputs]``; None without a bias.
        """
        layer, rank = self.layer, basis.shape[1]
        if isinstance(layer, nn.Linear):
            return _linear(basis, bias, layer)
        if self.scheme == "channels":
            ones = (1,) * len(layer.kernel_size)
            return _convolution(basis.reshape(layer.out_channels, rank, *ones), bias, layer, {})
        columns = basis.reshape(layer.kernel_size[1], layer.out_channels, rank)
        return _convolution(columns.permute(1, 2, 0).unsqueeze(2), bias, layer, _settings(layer, axis=1))

    def macs(self, rank: int, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the multiply-accumulates of the layer, and of the two that it is split into at a rank."""
        weight = self.layer.weight
        outputs = torch.Size(output_shape).numel()
        if self.scheme == "spatial":
            # The first convolution strides down the rows alone.
            between = output_shape[0] * output_shape[2] * input_shape[3]
            first = between * weight.shape[1] * weight.shape[2]
            second = outputs * weight.shape[3]
        else:
            first = outputs // weight.shape[0] * weight[0].numel()
            second = outputs
        return outputs * weight[0].numel(), rank * (first + second)


def splits(layer: Layer) -> Iterator[Split]:
    """Return every way to write a layer as two; a 2-D convolution with a kernel wider than 1 both ways has two."""
    weight = layer.weight.detach().double()
    yield Split("channels", layer, weight.flatten(1))
    if isinstance(layer, nn.Conv2d) and min(layer.kernel_size) > 1:
        yield Split("spatial", layer, weight.permute(3, 0, 1, 2).flatten(0, 1).flatten(1))


def obstacle(layer: nn.Module) -> str | None:
    """Return the reason why a layer cannot be split, or None where it can."""
    if parametrize.is_parametrized(layer):
        return "its weight is held to a pattern"
    if isinstance(layer, nn.Linear):
        return None
    if not isinstance(layer, Convolution):
        return "a transposed convolution"
    if layer.groups != 1:
        return f"{layer.groups} groups"
    if layer.padding_mode != "zeros":
        return f"padding_mode {layer.padding_mode}"
    return None


def _settings(layer: Convolution, axis: int) -> dict[str, Any]:
    """Return a convolution's settings along one of two axes, neutral along the other."""

    def along(values: tuple[int, ...], neutral: int) -> tuple[int, int]:
        return (values[0], neutral) if axis == 0 else (neutral, values[1])

    padding = layer.padding if isinstance(layer.padding, str) else along(layer.padding, 0)
    return {"stride": along(layer.stride, 1), "padding": padding, "dilation": along(layer.dilation, 1)}


def _linear(weight: Tensor, bias: Tensor | None, like: nn.Linear) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    _hold(linear, weight, bias, like)
    return linear


def _convolution(
    weight: Tensor, bias: Tensor | None, like: Convolution, settings: dict[str, Any]
) -> Convolution:
    kinds: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    convolution: Convolution = kinds[len(like.kernel_size)](
        weight.shape[1],
        weight.shape[0],
        tuple(weight.shape[2:]),
        bias=bias is not None,
        device="meta",
        **settings,
    )
    _hold(convolution, weight, bias, like)
    return convolution


def _hold(layer: Layer, weight: Tensor, bias: Tensor | None, like: Layer) -> None:
    def parameter(values: Tensor) -> nn.Parameter:
        tensor = values.to(like.weight.dtype).contiguous().clone()
        return nn.Parameter(tensor, requires_grad=like.weight.requires_grad)

    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    layer.train(like.training)
