"""Fake quantization with learned scales: round to the grid going forward, learn through it going back.

With v = x / s, clamped to the integers lowest … highest (less the zero point) and rounded to q:

    forward    x̂ = s · q
    backward   ∂x̂/∂x = 1 inside the range, 0 outside           (straight-through estimator)
               ∂x̂/∂s = q − v inside the range, q outside        (learned step size, LSQ)

LSQ: Esser et al. 2020, arXiv 1902.08153. A scale is learned as its logarithm, so that it stays positive and a step
changes it by a share of itself: TQT, Jain et al. 2020, arXiv 1903.08066. LSQ's factor 1/√(N·Qp) on the scales'
gradients balances them against the weights' under plain gradient descent; the training loop's Adam divides each
gradient by its own size, so the factor would cancel and is left out.

The arithmetic is written out: ``torch.fake_quantize_per_tensor_affine`` has no gradient for the scale, multiplies by
1 / s where ONNX's QuantizeLinear divides, and takes four times as long on a CPU.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _RoundToGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
        steps = x / scale
        integers = steps.round().clamp_(lowest, highest)
        ctx.save_for_backward(steps, integers)
        ctx.scale_shape, ctx.bounds = scale.shape, (lowest, highest)
        return integers * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (gradient,) = gradients
        steps, integers = ctx.saved_tensors
        lowest, highest = ctx.bounds
        # The clamp's own gradient, in one pass: 0 outside, and on the two ends.
        inside = torch.ops.aten.hardtanh_backward(gradient, steps, lowest, highest)
        of_scale = (gradient * integers).addcmul_(inside, steps, value=-1)
        return inside, of_scale.sum_to_size(ctx.scale_shape), None, None


def round_to_grid(x: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
    """Quantize and dequantize ``x``, differentiably in ``x`` and in ``scale``.

    Args:
        x: Tensor, float32 of any shape.
        scale: Scale, float32 > 0, which broadcasts against ``x``.
        lowest: Smallest integer, less the zero point.
        highest: Largest integer, less the zero point.
    """
    result: Tensor = _RoundToGrid.apply(x, scale, lowest, highest)  # type: ignore[no-untyped-call]
    return result


class FakeQuantize(nn.Module):
    """Fake quantization of one tensor, per tensor or per channel, with a learned scale.

    Args:
        scale: Initial scale, float32 > 0, [] or in a shape that broadcasts against the tensor.
        lowest: Smallest integer, less the zero point.
        highest: Largest integer, less the zero point.
        largest_scale: Upper limit of the scale.
    """

    def __init__(self, scale: Tensor, lowest: int, highest: int, largest_scale: float = math.inf) -> None:
        super().__init__()
        self.lowest, self.highest, self.largest_scale = lowest, highest, largest_scale
        self.register_buffer("initial", scale.clone())
        self.initial: Tensor
        self.logarithm = nn.Parameter(
            torch.zeros_like(scale)
        )  # of the scale as a multiple of the initial one

    def scale(self) -> Tensor:
        """Return the present scale, in its original shape."""
        scale = self.initial * self.logarithm.exp()
        # Straight through, or a scale that once reached its limit would never come back.
        return scale.detach().clamp(max=self.largest_scale) + (scale - scale.detach())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tensor on its grid, and the scale."""
        scale = self.scale()
        return round_to_grid(x, scale, self.lowest, self.highest), scale
