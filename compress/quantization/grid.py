"""The integers that stand for real values: x ≈ scale · (q − zero_point), q an 8-bit integer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.target.target import QuantizationFlavour

#: The product of an activation's and a weight's scale is a bias's scale and must not be subnormal in float32.
SMALLEST_SCALE = 2.0**-60

#: Half of int32's range is left to the accumulator that the bias is added to.
LARGEST_BIAS = 2**30

_AT_ONCE = 1 << 18  # weights that are rounded at once, in float64: they stay in the processor's cache


@dataclass(frozen=True)
class Range:
    """The range of values that a quantized tensor represents; values outside saturate.

    Attributes:
        low: Lower end, at most ``high``, in the tensor's own unit.
        high: Upper end, in the tensor's own unit.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Grid:
    """An activation's grid.

    Attributes:
        scale: Distance of two neighbours; a float32 value, never subnormal.
        zero_point: Integer that stands for 0.
        lowest: Smallest integer.
        highest: Largest integer.
    """

    scale: float
    zero_point: int
    lowest: int
    highest: int

    def quantize(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the nearest integers, ties to even as QuantizeLinear rounds."""
        steps = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        integers: NDArray[np.int64] = np.clip(steps, self.lowest, self.highest).astype(np.int64)
        return integers

    def round(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values after quantizing and dequantizing."""
        return (self.quantize(values) - self.zero_point) * np.float64(self.scale)


def activation_grid(seen: Range, flavour: QuantizationFlavour) -> Grid:
    """Return the finest grid over a range, with 0 on it, because padding and ReLU need it exactly.

    Args:
        seen: Range of the values seen, finite.
        flavour: Flavour, for the type, and whether the zero point is 0.
    """
    lowest, highest = (0, 255) if flavour.activation == "uint8" else (-128, 127)
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if flavour.symmetric:
        # Only with uint8 is there an asymmetry that symmetric cannot mean: it then has its zero in the middle.
        zero_point = 0 if flavour.activation == "int8" else 128
        return Grid(_scale(max(-low, high), 127), zero_point, lowest, highest)
    scale = _scale(high - low, highest - lowest)
    zero_point = min(max(round(lowest - low / scale), lowest), highest)
    return Grid(scale, zero_point, lowest, highest)


def range_of(grid: Grid, flavour: QuantizationFlavour) -> Range:
    """Return the range of a grid: the inverse of :func:`activation_grid`, to the last bit."""
    if flavour.symmetric:
        return Range(-127 * grid.scale, 127 * grid.scale)
    low, high = grid.lowest - grid.zero_point, grid.highest - grid.zero_point
    return Range(low * grid.scale, high * grid.scale)


def weight_scales(
    weight: NDArray[np.float32], axis: int | None, flavour: QuantizationFlavour
) -> NDArray[np.float32]:
    """Return one scale for each output channel, [channels], or one for all, [], with zero point 0."""
    others = (
        tuple(other_axis for other_axis in range(weight.ndim) if other_axis != axis)
        if axis is not None
        else None
    )
    # Not the largest of the magnitudes: these would be a copy of the weight.
    largest = np.maximum(np.max(weight, axis=others, initial=0.0), -np.min(weight, axis=others, initial=0.0))
    scales = np.maximum(largest / highest_weight(flavour), SMALLEST_SCALE)
    return np.asarray(scales, np.float32)


def widened_scales(
    scales: NDArray[np.float32], bias: NDArray[np.float32], input_scale: float
) -> NDArray[np.float32]:
    """Return weight scales that let the bias fit int32, where a channel of tiny weights has a large bias."""
    needed = np.abs(bias) / (LARGEST_BIAS * input_scale)
    widened = np.maximum(scales, needed if scales.ndim else needed.max(initial=0.0))
    return np.asarray(widened, np.float32)


def highest_weight(flavour: QuantizationFlavour) -> int:
    """Return the largest integer a weight may become; the smallest is its negative."""
    return 63 if flavour.reduce_range else 127


def quantize_weight(
    weight: NDArray[np.float32], scales: NDArray[np.float32], axis: int | None, highest: int = 127
) -> NDArray[np.int8]:
    """Return the nearest integers from ``-highest`` to ``highest``, in the weight's shape."""
    along = [1] * weight.ndim
    if axis is not None:
        along[axis] = -1
    steps = np.broadcast_to(scales.astype(np.float64).reshape(along), weight.shape)
    integers = np.empty(weight.shape, np.int8)
    rows = max(1, _AT_ONCE * len(weight) // max(weight.size, 1))
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        quotients = weight[part] / steps[part]
        np.clip(np.rint(quotients, out=quotients), -highest, highest, out=quotients)
        integers[part] = quotients
    return integers


def _scale(span: float, steps: int) -> float:
    scale = np.float32(max(span / steps, SMALLEST_SCALE))
    # Rounded up, the grid would reach beyond a Clip's upper limit, and the runtime could not drop the Clip.
    if scale * np.float32(steps) > np.float32(span) and span > steps * SMALLEST_SCALE:
        scale = np.nextafter(scale, np.float32(0))
    return float(scale)
