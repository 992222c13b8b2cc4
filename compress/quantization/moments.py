"""Moments of a layer for least squares: sums and products of its inputs and its wanted outputs.

A weighted operator is y = W x + b on rows: a row is a sample's features, or the window of a convolution at one
position. Moments are added up batch by batch, so memory holds [inputs, inputs] numbers whatever the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import attribute

#: Rows taken of each batch: windows overlap, and say no more when there are more of them.
ROWS = 2048

#: Inputs up to which products are held in float64; a matrix of more would take too much time and memory.
_FEW_INPUTS = 512

#: Inputs up to which groups are multiplied all together: there are many of so few.
_TAPS = 64

Floats = NDArray[np.floating[Any]]


@dataclass
class Moments:
    """Sums over rows; a leading axis counts the groups of a convolution.

    Attributes:
        rows: Number of rows.
        x: Sum of inputs, [groups, inputs].
        y: Sum of wanted outputs, [groups, outputs].
        xx: Sum of x xᵀ, [groups, inputs, inputs].
        xy: Sum of x yᵀ, [groups, inputs, outputs].
        yy: Sum of y², [groups, outputs].
    """

    rows: int
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    xx: Floats
    xy: Floats
    yy: NDArray[np.float64]

    @classmethod
    def of(cls, x: Floats, y: Floats) -> Moments:
        """Return the moments of one batch: x [groups, rows, inputs], y [groups, rows, outputs]."""
        dtype: Any = np.float64 if x.shape[2] <= _FEW_INPUTS else np.float32
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
        # Of one matrix with itself numpy computes half of the products, but only where there is no leading axis.
        if len(x) == 1:
            xx = (x[0].T @ x[0])[None]
        elif x.shape[2] > _TAPS:
            xx = np.stack([group.T @ group for group in x])
        else:
            xx = x.swapaxes(1, 2) @ x
        return cls(
            x.shape[1],
            x.sum(1, dtype=np.float64),
            y.sum(1, dtype=np.float64),
            xx,
            x.swapaxes(1, 2) @ y,
            np.square(y).sum(1, dtype=np.float64),
        )

    def __iadd__(self, other: Moments) -> Moments:
        self.rows += other.rows
        for name in ("x", "y", "xx", "xy", "yy"):
            own_sums: Floats = getattr(self, name)
            own_sums += getattr(other, name)
        return self

    def centred(self) -> tuple[Floats, Floats]:
        """Return the covariances times rows of inputs with inputs and with outputs, which W alone must explain."""
        dtype: Any = self.xx.dtype
        mean = (self.x / self.rows).astype(dtype)[:, :, None]
        x, y = (values.astype(dtype)[:, None, :] for values in (self.x, self.y))
        return self.xx - mean * x, self.xy - mean * y

    def best_bias(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the bias with which y − W x − b averages 0, [groups, outputs], for W [groups, outputs, inputs]."""
        shift: NDArray[np.float64] = (self.y - (weight @ self.x[:, :, None])[:, :, 0]) / self.rows
        return shift

    def error(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> float:
        """Return the mean of (y − W x − b)² over rows, summed over outputs, ≥ 0."""
        from_weight = np.einsum("goi,gij,goj->", weight, self.xx, weight, optimize=True)
        with_target = np.einsum("goi,gio->", weight, self.xy)
        predicted = (weight @ self.x[:, :, None])[:, :, 0]
        from_bias = (bias * (2 * predicted - 2 * self.y + self.rows * bias)).sum()
        return max(float(self.yy.sum() + from_weight - 2 * with_target + from_bias) / self.rows, 0.0)


def rows_of(
    node: onnx.NodeProto,
    kernel: tuple[int, ...],
    inputs: NDArray[Any],
    outputs: NDArray[Any],
    random: np.random.Generator,
    most: int = ROWS,
    padding: int = 0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a batch of a layer's inputs and outputs as rows, chosen at random where there are many.

    Args:
        node: Node of type Conv, Gemm or MatMul.
        kernel: Sizes of a convolution's kernel; empty for the others.
        inputs: Inputs of the node, of any type.
        outputs: Wanted outputs of the node.
        random: Generator that chooses the rows.
        most: Largest number of rows.
        padding: Value that a convolution's input is padded with: the zero point, where inputs are integers.

    Returns:
        Inputs [groups, rows, inputs / groups · taps] and outputs [groups, rows, outputs / groups], of their types.
    """
    if node.op_type != "Conv":
        x, y = inputs.reshape(-1, inputs.shape[-1]), outputs.reshape(-1, outputs.shape[-1])
        chosen = _chosen(len(x), random, most)
        return x[None, chosen], y[None, chosen]
    group = attribute(node, "group", 1)
    windows = np.moveaxis(_windows(node, kernel, inputs, padding), 1, 1 + len(kernel))
    targets = np.moveaxis(outputs, 1, -1)  # both are [samples, *positions, channels, …] now
    chosen = _chosen(math.prod(targets.shape[:-1]), random, most)
    at = np.unravel_index(chosen, targets.shape[:-1])
    grouped = (len(chosen), group, -1)
    return windows[at].reshape(grouped).swapaxes(0, 1), targets[at].reshape(grouped).swapaxes(0, 1)


def has_explicit_padding(node: onnx.NodeProto) -> bool:
    """Whether a convolution's padding is in its attributes; SAME_UPPER and its like depend on the input."""
    return attribute(node, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID", b"")


def _windows(
    node: onnx.NodeProto, kernel: tuple[int, ...], inputs: NDArray[Any], padding: int
) -> NDArray[Any]:
    axes = len(kernel)
    pads = attribute(node, "pads", [0] * (2 * axes))
    strides = attribute(node, "strides", [1] * axes)
    dilations = attribute(node, "dilations", [1] * axes)
    around = [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
    padded = np.pad(inputs, around, constant_values=padding) if any(pads) else inputs
    reach = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    spatial = tuple(range(2, 2 + axes))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=spatial)
    places = tuple(slice(None, None, step) for step in strides)
    taps = tuple(slice(None, None, step) for step in dilations)
    return windows[(slice(None), slice(None), *places, *taps)]


def _chosen(count: int, random: np.random.Generator, most: int) -> NDArray[np.int64]:
    if count <= most:
        return np.arange(count)
    return np.sort(random.choice(count, most, replace=False))
