"""A matrix on a grid for each group: integers, scales and zero points, and the floats they stand for.

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
        integers: Integers, uint8 [outputs, groups, group size], below 2^bits; the last group is filled up.
        scales: Scales, float32 [outputs, groups].
        zero_points: Zero points, uint8 or float32 [outputs, groups]; None means 2^(bits − 1) everywhere.
        input_scales: Factors that the layer's input is multiplied by first, float32 [inputs]; None for ones.
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
        """Number of weights that share a scale."""
        return int(self.integers.shape[2])

    def dequantized(self) -> NDArray[np.float32]:
        """Return the weights as floats [outputs, inputs]."""
        zero: NDArray[np.float32] | float = float(2 ** (self.bits - 1))
        if self.zero_points is not None:
            zero = self.zero_points.astype(np.float32)[..., np.newaxis]
        grouped = (self.integers.astype(np.float32) - zero) * self.scales[..., np.newaxis]
        weight: NDArray[np.float32] = grouped.reshape(len(grouped), -1)[:, : self.inputs]
        return weight if self.input_scales is None else weight * self.input_scales


def in_groups(weight: NDArray[np.float32], group_size: int) -> NDArray[np.float32]:
    """Return weights [outputs, inputs] as [outputs, groups, group size], the last group filled up with zeros."""
    missing = -weight.shape[1] % group_size
    return np.pad(weight, ((0, 0), (0, missing))).reshape(len(weight), -1, group_size)
