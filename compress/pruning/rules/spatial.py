"""Rules for operators over space: pooling, resizing, padding, pixel shuffle. The axes they work on stay whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from compress.network.lifting.calls import aten
from compress.pruning.atoms import fixed, merge
from compress.pruning.axes import Axes, Propagation, Rule
from compress.pruning.rules.reduction import hold_groups


def _pool(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Any:
    """Rule of pooling over the axes after [batch, channels]; an unbatched image has no batch."""
    operand = arguments["self"] if "self" in arguments else arguments["input"]
    axes, shapes = propagation.axes(operand), propagation.shapes[node]
    several = isinstance(shapes, list)
    shape = shapes[0] if several else shapes
    spatial = _spatial_axes(str(node.target), len(axes))
    result = list(axes)
    for axis in range(len(axes) - spatial, len(axes)):
        propagation.atoms.fix(axes[axis])
        result[axis] = fixed(shape[axis])
    return [result] * len(shapes) if several else result


def _spatial_axes(name: str, rank: int) -> int:
    for count in (1, 2, 3):
        if f"{count}d" in name:
            return count
    return rank - 2


def _pad(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of padding: padded axes stay, the others pass."""
    axes, shape = list(propagation.axes(arguments["self"])), propagation.shape(node)
    for back in range(1, len(arguments["pad"]) // 2 + 1):
        if len(axes[-back]) != shape[-back] or any(arguments["pad"][2 * back - 2 : 2 * back]):
            propagation.atoms.fix(axes[-back])
            axes[-back] = fixed(shape[-back])
    return axes


def _pixel_shuffle(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes, shape = propagation.axes(arguments["self"]), propagation.shape(node)
    channels, pixels = propagation.atoms.split(axes[-3], [shape[-3], len(axes[-3]) // shape[-3]])
    propagation.fix_all([pixels, axes[-2], axes[-1]])
    return [*axes[:-3], channels, fixed(shape[-2]), fixed(shape[-1])]


def _pixel_unshuffle(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes, shape = propagation.axes(arguments["self"]), propagation.shape(node)
    propagation.fix_all(axes[-2:])
    channels = np.repeat(axes[-3], shape[-3] // len(axes[-3]), axis=0)
    return [*axes[:-3], channels, fixed(shape[-2]), fixed(shape[-1])]


def _channel_shuffle(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes = list(propagation.axes(arguments["self"]))
    groups, members = hold_groups(propagation, node, axes[1], arguments["groups"])
    axes[1] = merge([members, groups])
    return axes


def _unfold(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of im2col: [batch, channels · kernel, places]."""
    axes, shape = propagation.axes(arguments["self"]), propagation.shape(node)
    propagation.fix_all(axes[-2:])
    channels = np.repeat(axes[-3], shape[-2] // len(axes[-3]), axis=0)
    return [*axes[:-3], channels, fixed(shape[-1])]


SPATIAL: dict[Any, Rule] = {
    **{
        getattr(aten, name): _pool
        for name in (
            "max_pool1d",
            "max_pool2d",
            "max_pool3d",
            "max_pool1d_with_indices",
            "max_pool2d_with_indices",
            "max_pool3d_with_indices",
            "avg_pool1d",
            "avg_pool2d",
            "avg_pool3d",
            "adaptive_avg_pool1d",
            "adaptive_avg_pool2d",
            "_adaptive_avg_pool2d",
            "adaptive_avg_pool3d",
            "adaptive_max_pool1d",
            "adaptive_max_pool2d",
            "adaptive_max_pool3d",
            "upsample_nearest1d",
            "upsample_nearest2d",
            "upsample_nearest3d",
            "_upsample_nearest_exact1d",
            "_upsample_nearest_exact2d",
            "_upsample_nearest_exact3d",
            "upsample_linear1d",
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "upsample_trilinear3d",
        )
        if hasattr(aten, name)
    },
    aten.pad: _pad,
    aten.constant_pad_nd: _pad,
    aten.pixel_shuffle: _pixel_shuffle,
    aten.pixel_unshuffle: _pixel_unshuffle,
    aten.channel_shuffle: _channel_shuffle,
    aten.native_channel_shuffle: _channel_shuffle,
    aten.im2col: _unfold,
}
