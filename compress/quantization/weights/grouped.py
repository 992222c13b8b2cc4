"""A matrix on a grid per group: integers, scales and zero points, and what they stand for.

weight[n, g, i] = (integers[n, g, i] − zero_points[n, g]) · scales[n, g] · input_scales[g, i]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GroupedWeight:
    """The weights of one layer.

    Attributes:
        integers: uint8 [outputs, groups, group size], below 2^bits; the last group is filled up.
        scales: float32 [outputs, groups].
        zero_points: uint8 or float32 [outputs, groups]; None stands for 2^(bits − 1) everywhere.
        input_scales: float32 [inputs]: the layer's input is multiplied by them first; None for ones.
        inputs: Number of inputs of the layer; at most groups · group size.
        bits: Bits of an integer.
    """

    integers: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8] | NDArray[np.float32] | None
    input_scales: NDArray[np.float32] | None
    inputs: int
    bits: int

    @property
    def group_size(self) -> int:
        """Weights that share a scale."""
        return int(self.integers.shape[2])

    def dequantized(self) -> NDArray[np.float32]:
        """The weights as floats [outputs, inputs]."""
        zero: NDArray[np.float32] | float = float(2 ** (self.bits - 1))
        if self.zero_points is not None:
            zero = self.zero_points.astype(np.float32)[..., np.newaxis]
        grouped = (self.integers.astype(np.float32) - zero) * self.scales[..., np.newaxis]
        weight: NDArray[np.float32] = grouped.reshape(len(grouped), -1)[:, : self.inputs]
        return weight if self.input_scales is None else weight * self.input_scales


def in_groups(weight: NDArray[np.float32], group_size: int) -> NDArray[np.float32]:
    """Weights [outputs, inputs] as [outputs, groups, group size], the last group filled up with zeros."""
    missing = -weight.shape[1] % group_size
    return np.pad(weight, ((0, 0), (0, missing))).reshape(len(weight), -1, group_size)
