"""Exponential moving average of a module's parameters: smoother than the last step's, which carry its noise.

Polyak and Juditsky 1992; in this form as in Izmailov et al. 2018 and common practice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Moving averages of the parameters that train.

    Args:
        module: Module whose parameters are averaged.
        decay: Weight of the past, in [0, 1); 0 averages nothing. At step t it is at most (1 + t) / (10 + t), so
            that the beginning is forgotten soon.

    Attributes:
        values: Average of each parameter, by its name.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in self._trained()}

    def update(self, step: int) -> None:
        """Add the parameters after a step, counted from 0, to the average."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self._trained():
                self.values[name].lerp_(value, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the module the averages inside the block, and its own parameters again after it."""
        live_values = {name: value.detach().clone() for name, value in self._trained()}
        assign(self._module, self.values)
        try:
            yield
        finally:
            assign(self._module, live_values)

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [entry for entry in self._module.named_parameters() if entry[1].requires_grad]


def assign(module: nn.Module, values: dict[str, Tensor]) -> None:
    """Copy values into the module's parameters and buffers of these names."""
    named = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for name, value in values.items():
            named[name].copy_(value)
