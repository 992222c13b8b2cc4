"""A matrix on a grid for each group: integers, scales and zero points, and the floats they stand for.

weight[n, g, i] = (integers[n, g, i] − zero_points[n, g]) · scales[n, g] · input_scales[g, i]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

#: Weights that are rounded at once; rows do not depend on one another.
_PIECE = 1 << 22


class NotApplicableError(Exception):
    """An algorithm cannot work on a layer; the message says why."""


@dataclass(frozen=True)
class Grid:
    """The sizes of a matrix of integers.

    Attributes:
        outputs: Number of outputs of the layer.
        inputs: Number of inputs of the layer.
        group_size: Number of weights along the inputs that share a scale.
        bits: Bits of an integer.
    """

    outputs: int
    inputs: int
    group_size: int
    bits: int

    @property
    def groups(self) -> int:
        """Number of groups of an output; the last one is filled up."""
        return -(-self.inputs // self.group_size)


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
    def grid(self) -> Grid:
        """Sizes of the matrix."""
        return Grid(len(self.integers), self.inputs, self.group_size, self.bits)

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


def relative_change(before: NDArray[np.float32], weight: GroupedWeight) -> float:
    """Return the root mean square of the weights' changes over that of the weights."""
    size = float(np.square(before).mean())
    change = float(np.square(weight.dequantized() - before).mean())
    return (change / size) ** 0.5 if size else 0.0


def in_pieces(
    weight: NDArray[np.float32], rounding: Callable[[NDArray[np.float32]], GroupedWeight]
) -> tuple[GroupedWeight, float]:
    """Round a matrix a few rows at a time, so that beside it little more than its integers is in memory.

    Args:
        weight: Weights, float32 [outputs, inputs].
        rounding: Rounding in which no row depends on another, and without factors of the inputs.

    Returns:
        The integers, and the root mean square of the weights' changes over that of the weights.
    """
    rows = max(1, _PIECE // weight.shape[1])
    joined: GroupedWeight | None = None
    size = change = 0.0
    for start in range(0, len(weight), rows):
        floats = weight[start : start + rows]
        piece = rounding(floats)
        size += float(np.vdot(floats, floats))
        lost = piece.dequantized()
        lost -= floats
        change += float(np.vdot(lost, lost))
        if joined is None:
            joined = _of_as_many_rows(piece, len(weight))
        for all_rows, some in (
            (joined.integers, piece.integers),
            (joined.scales, piece.scales),
            (joined.zero_points, piece.zero_points),
        ):
            if all_rows is not None and some is not None:
                all_rows[start : start + rows] = some
    assert joined is not None
    return joined, (change / size) ** 0.5 if size else 0.0


def _of_as_many_rows(piece: GroupedWeight, rows: int) -> GroupedWeight:
    zero_points = piece.zero_points
    return replace(
        piece,
        integers=np.empty((rows, *piece.integers.shape[1:]), np.uint8),
        scales=np.empty((rows, piece.scales.shape[1]), np.float32),
        zero_points=None
        if zero_points is None
        else np.empty((rows, zero_points.shape[1]), zero_points.dtype),
    )


def in_groups(weight: NDArray[np.float32], group_size: int) -> NDArray[np.float32]:
    """Return weights [outputs, inputs] as [outputs, groups, group size], the last group filled up with zeros."""
    missing = -weight.shape[1] % group_size
    return np.pad(weight, ((0, 0), (0, missing))).reshape(len(weight), -1, group_size)
