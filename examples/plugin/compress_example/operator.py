"""An operator: a function that computes with PyTorch's operators what ``compress_example::snake`` computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def snake(x: Tensor, frequency: Tensor, *, scale: float = 1.0) -> Tensor:
    """Return x with a wave on it, of one frequency for each channel."""
    return x + (frequency * x).sin().square() * scale / frequency
