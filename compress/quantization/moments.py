"""What least squares needs to know of a layer: means and products of its inputs and its wanted outputs.

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


@dataclass
class Moments:
    """Sums over rows, in float64; a leading axis counts the groups of a convolution.

    Attributes:
        rows: How many.
        x: Sum of inputs, [groups, inputs].
        y: Sum of wanted outputs, [groups, outputs].
        xx: Sum of x xᵀ, [groups, inputs, inputs].
        xy: Sum of x yᵀ, [groups, inputs, outputs].
        yy: Sum of y², [groups, outputs].
    """

    rows: int
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    xx: NDArray[np.float64]
    xy: NDArray[np.float64]
    yy: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray[np.float64], y: NDArray[np.float64]) -> Moments:
        """The moments of one batch: x [groups, rows, inputs], y [groups, rows, outputs]."""
        return cls(
            x.shape[1], x.sum(1), y.sum(1), x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ y, np.square(y).sum(1)
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.rows + other.rows,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    def centred(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Covariances times rows of inputs with inputs, and of inputs with outputs: what W alone must explain."""
        mean = self.x / self.rows
        return (
            self.xx - mean[:, :, None] * self.x[:, None, :],
            self.xy - mean[:, :, None] * self.y[:, None, :],
        )

    def best_bias(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """The bias with which y − W x − b is 0 on average, [groups, outputs], for W [groups, outputs, inputs]."""
        shift: NDArray[np.float64] = (self.y - (weight @ self.x[:, :, None])[:, :, 0]) / self.rows
        return shift

    def error(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> float:
        """The mean of (y − W x − b)² over rows, summed over outputs, and at least 0."""
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
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A batch of a layer's inputs and outputs as rows, at most :data:`ROWS` of them, chosen at random.

    Args:
        node: Conv, Gemm or MatMul.
        kernel: Sizes of a convolution's kernel; empty for the others.
        inputs: What the node reads.
        outputs: What it should write.
        random: Chooses the rows.

    Returns:
        Inputs [groups, rows, inputs / groups · taps] and outputs [groups, rows, outputs / groups].
    """
    if node.op_type != "Conv":
        x, y = inputs.reshape(-1, inputs.shape[-1]), outputs.reshape(-1, outputs.shape[-1])
        chosen = _chosen(len(x), random)
        return x[None, chosen].astype(np.float64), y[None, chosen].astype(np.float64)
    group = attribute(node, "group", 1)
    windows = np.moveaxis(_windows(node, kernel, inputs), 1, 1 + len(kernel))
    targets = np.moveaxis(outputs, 1, -1)  # both are [samples, *positions, channels, …] now
    chosen = _chosen(math.prod(targets.shape[:-1]), random)
    at = np.unravel_index(chosen, targets.shape[:-1])
    grouped = (len(chosen), group, -1)
    return (
        windows[at].reshape(grouped).swapaxes(0, 1).astype(np.float64),
        targets[at].reshape(grouped).swapaxes(0, 1).astype(np.float64),
    )


def has_explicit_padding(node: onnx.NodeProto) -> bool:
    """Whether a convolution's padding is in its attributes; SAME_UPPER and its like depend on the input."""
    return attribute(node, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID", b"")


def _windows(node: onnx.NodeProto, kernel: tuple[int, ...], inputs: NDArray[Any]) -> NDArray[Any]:
    axes = len(kernel)
    pads = attribute(node, "pads", [0] * (2 * axes))
    strides = attribute(node, "strides", [1] * axes)
    dilations = attribute(node, "dilations", [1] * axes)
    padded = np.pad(inputs, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    reach = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    spatial = tuple(range(2, 2 + axes))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=spatial)
    places = tuple(slice(None, None, step) for step in strides)
    taps = tuple(slice(None, None, step) for step in dilations)
    return windows[(slice(None), slice(None), *places, *taps)]


def _chosen(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    if count <= ROWS:
        return np.arange(count)
    return np.sort(random.choice(count, ROWS, replace=False))
