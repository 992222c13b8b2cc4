"""Constants of the simulation: weights as they are trained, and values that stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelUnits(nn.Module):
    """A weight or bias, learned as a multiple of a unit for each channel.

    One learning rate then moves every channel by the same share of itself. Folding batch norms leaves channels whose
    weights differ a thousandfold; in absolute steps the small ones would be noise before the large ones moved.

    Args:
        values: float32.
        unit: float32 ≥ 0, broadcasts against ``values``. Where it is 0 the values stay as they are.
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
        """The values as they are now."""
        return self.multiple * self.unit + self.fixed


class FixedValues(nn.Module):
    """A constant that is not learned.

    Args:
        values: Any shape.
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)
        self.values: Tensor

    def forward(self) -> Tensor:
        """The values."""
        return self.values


def channel_maxima(weight: Tensor, axis: int | None) -> Tensor:
    """The largest magnitude of each channel, broadcastable against the weight; of the whole weight without axis."""
    others = [each for each in range(weight.dim()) if each != axis]
    return weight.abs().amax(others, keepdim=True)
