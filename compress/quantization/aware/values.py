"""Constants of the simulation: weights that train, and values that stay fixed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelUnits(nn.Module):
    """A weight or bias, learned as a multiple of a unit for each channel.

    One learning rate then moves every channel by the same share of itself. Folding batch norms leaves channels whose
    weights differ a thousandfold; in absolute steps the small ones would be noise before the large ones moved.

    Args:
        values: Initial values, float32.
        unit: Unit of each channel, float32 ≥ 0, which broadcasts against ``values``. Where it is 0 the values do not
            change.
    """

    def __init__(self, values: Tensor, unit: Tensor) -> None:
        super().__init__()
        multiple = torch.where(unit > 0, values / unit.clamp(min=torch.finfo(unit.dtype).tiny), 0.0)
        self.register_buffer("unit", unit.clone())
        self.register_buffer("fixed", values - multiple * unit)  # What division rounds away, too.
        self.unit: Tensor
        self.fixed: Tensor
        self.multiple = nn.Parameter(multiple)

    def forward(self) -> Tensor:
        """Return the present values."""
        return self.multiple * self.unit + self.fixed


class FixedValues(nn.Module):
    """A constant that is not learned.

    Args:
        values: Values of any shape.
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)
        self.values: Tensor

    def forward(self) -> Tensor:
        """Return the values."""
        return self.values


def channel_maxima(weight: Tensor, axis: int | None) -> Tensor:
    """Return the largest magnitude of each channel, broadcastable against the weight; of all without axis."""
    others = [other_axis for other_axis in range(weight.dim()) if other_axis != axis]
    return weight.abs().amax(others, keepdim=True)
