"""Weights rounded to groups while a decoder trains, as the technique ``weight_only`` rounds them afterwards.

A group of weights along the inputs has a scale and a zero point of its own:

    scale = (max(w, 0) - min(w, 0)) / (2^bits - 1),  zero = round(-min(w, 0) / scale)
    rounded = (clip(round(w / scale) + zero, 0, 2^bits - 1) - zero) · scale

The gradient passes the rounding as if it were not there (Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from compress.language.matrices import EMBEDDING, HEAD, HEAD_TURN


@dataclass(frozen=True)
class Rounding:
    """Rounding of a decoder's matrices.

    Attributes:
        bits: Bits of a weight, 4 or 8, of all matrices but the embedding and a head that shares it.
        group_size: Number of weights along the inputs that share a scale.
        tied_bits: Bits of an embedding that the head shares; one that is only looked up in stays float.
    """

    bits: int
    group_size: int = 32
    tied_bits: int = 8

    def of(self, name: str, weight: Tensor, tied: bool) -> Tensor:
        """Return a weight as it is computed with.

        Args:
            name: Name of the weight.
            weight: The weight; vectors, and what chooses experts, stay as they are.
            tied: Whether the decoder's head shares the embedding.
        """
        if weight.ndim != 2 or name == "model.embed_positions.weight" or name.endswith(".mlp.gate.weight"):
            return weight
        if name == f"{EMBEDDING}.weight":
            return rounded(weight, self.tied_bits, self.group_size) if tied else weight
        if name in (f"{HEAD}.weight", f"{HEAD_TURN}.weight") or name.startswith("model.layers."):
            return rounded(weight, self.bits, self.group_size)
        return weight


def rounded(weight: Tensor, bits: int, group_size: int) -> Tensor:
    """Return a matrix [outputs, inputs] rounded to groups along its inputs; the gradient is that of the matrix."""
    outputs, inputs = weight.shape
    padded = F.pad(weight.detach(), (0, -inputs % group_size))
    groups = padded.view(outputs, -1, group_size)
    low, high = groups.amin(-1, keepdim=True).clamp(max=0), groups.amax(-1, keepdim=True).clamp(min=0)
    most = 2**bits - 1
    scale = ((high - low) / most).clamp(min=torch.finfo(weight.dtype).tiny)
    zero = torch.round(-low / scale)
    dequantized = (torch.clamp(torch.round(groups / scale) + zero, 0, most) - zero) * scale
    moved: Tensor = dequantized.view(outputs, -1)[:, :inputs] - weight.detach()
    return weight + moved
