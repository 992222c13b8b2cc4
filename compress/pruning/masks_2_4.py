"""Masks that leave the two largest of every four weights (Mishra et al. 2021, arXiv 2104.08378).

A masked layer holds its mask as a parametrization: whatever training makes of the weight, the layer computes with
zeros where the mask has them, and so does its export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_GROUP, _LEFT = 4, 2
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Held(nn.Module):
    """Parametrization that holds a weight to a mask.

    Args:
        mask: Mask of the weight's shape, True where the weight stays.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with zeros where the mask is False; no gradient reaches those."""
        return weight * self.mask


def mask_2_4(weight: Tensor) -> Tensor:
    """Return a mask, True at the two largest magnitudes of every four neighbours along axis 1 (first of equal ones).

    Args:
        weight: Weight ``[outputs, inputs, *kernel]``, with inputs a multiple of 4.
    """
    by_input = weight.detach().abs().movedim(1, -1)
    fours = by_input.reshape(*by_input.shape[:-1], -1, _GROUP)
    order = torch.argsort(fours, dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, order[..., :_LEFT], True)
    return mask.reshape(by_input.shape).movedim(-1, 1).contiguous()


def obstacle(layer: nn.Module, least_channels: int) -> str | None:
    """Return the reason why a layer is left dense, or None where it can be masked.

    Args:
        layer: Layer of the graph.
        least_channels: Smallest number of inputs and of outputs that gain from it.
    """
    if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return "no matrix product or convolution"
    if isinstance(layer, _CONVOLUTIONS) and layer.groups != 1:
        return f"{layer.groups} groups"
    if parametrize.is_parametrized(layer):
        return "its weight is held to a pattern already"
    outputs, inputs = layer.weight.shape[:2]
    if min(outputs, inputs) < least_channels:
        return f"{inputs} inputs and {outputs} outputs, fewer than {least_channels}"
    if inputs % _GROUP:
        return f"{inputs} inputs, no multiple of {_GROUP}"
    return None
