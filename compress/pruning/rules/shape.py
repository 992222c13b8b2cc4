"""Rules for operators that move elements without computing: views, permutations, joins, cuts."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from compress.network.lifting.calls import aten
from compress.pruning.atoms import Labels, fixed, join, merge
from compress.pruning.axes import Axes, Propagation, Rule
from compress.pruning.rules.elementwise import aligned


def _view(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of views: runs of axes that hold the same elements on both sides are merged, and cut again."""
    axes, shape = propagation.axes(node.args[0]), propagation.shape(node)
    result = [fixed(size) for size in shape]
    # Axes of one index hold nothing.
    sources = [labels for labels in axes if len(labels) > 1]
    targets = [axis for axis, size in enumerate(shape) if size > 1]
    while sources:
        source_axes, target_axes = [sources.pop(0)], [targets.pop(0)]
        while (before := _product(len(axis_labels) for axis_labels in source_axes)) != (
            after := _product(shape[axis] for axis in target_axes)
        ):
            if before < after:
                source_axes.append(sources.pop(0))
            else:
                target_axes.append(targets.pop(0))
        parts = propagation.atoms.split(merge(source_axes), [shape[axis] for axis in target_axes])
        for axis, labels in zip(target_axes, parts, strict=True):
            result[axis] = labels
    return result


def _product(sizes: Any) -> int:
    return int(np.prod(list(sizes), dtype=np.int64))


def _permute(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes = propagation.axes(arguments["self"])
    return [axes[axis] for axis in arguments["dims"]]


def _transpose(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes = list(propagation.axes(arguments["self"]))
    one, other = _first(arguments, "dim0", "axis0"), _first(arguments, "dim1", "axis1")
    axes[one], axes[other] = axes[other], axes[one]
    return axes


def _first(arguments: dict[str, Any], *names: str) -> Any:
    return next(arguments[name] for name in names if name in arguments)


def _reversed(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    return propagation.axes(arguments["self"])[::-1]


def _movedim(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes = propagation.axes(arguments["self"])
    sources, targets = arguments["source"], arguments["destination"]
    if isinstance(sources, int):
        sources, targets = [sources], [targets]
    rank = len(axes)
    moved = {target % rank: source % rank for source, target in zip(sources, targets, strict=True)}
    others = iter(axis for axis in range(rank) if axis not in moved.values())
    return [axes[moved[axis]] if axis in moved else axes[next(others)] for axis in range(rank)]


def _expand(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of expand: an axis that repeats one index can have any length, but the index stays."""
    axes, shape = propagation.axes(arguments["self"]), propagation.shape(node)
    axes = [fixed(1)] * (len(shape) - len(axes)) + axes
    propagation.fix_all(labels for labels, size in zip(axes, shape, strict=True) if len(labels) != size)
    size_arguments = arguments.get("size") or [None] * len(shape)
    return [
        labels if len(labels) == size else _made(propagation, size, size_argument)
        for labels, size, size_argument in zip(axes, shape, size_arguments, strict=True)
    ]


def _made(propagation: Propagation, size: int, size_argument: Any) -> Labels:
    return propagation.atoms.fresh(size) if isinstance(size_argument, int) else fixed(size)


def _constant(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of constants such as zeros and ones, which can have any size."""
    return [
        _made(propagation, size, size_argument)
        for size, size_argument in zip(propagation.shape(node), arguments["size"], strict=True)
    ]


def _sequence(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    return [fixed(size) for size in propagation.shape(node)]


def _repeat(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    shape, axes = propagation.shape(node), propagation.axes(arguments["self"])
    axes = [fixed(1)] * (len(shape) - len(axes)) + axes
    return [np.tile(labels, (size // len(labels), 1)) for labels, size in zip(axes, shape, strict=True)]


def _repeat_interleave(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes = list(propagation.axes(arguments["self"]))
    axis = arguments.get("dim")
    if axis is None or not isinstance(arguments.get("repeats"), int):
        propagation.fix_all(axes)
        return [fixed(size) for size in propagation.shape(node)]
    axes[axis] = np.repeat(axes[axis], arguments["repeats"], axis=0)
    return axes


def _cat(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    operands = [propagation.axes(operand) for operand in arguments["tensors"]]
    # An empty tensor of one axis may be joined to anything.
    operands = [axes for axes in operands if len(axes) == len(propagation.shape(node))]
    at = arguments["dim"] % len(operands[0])
    joined = join([axes[at] for axes in operands])
    others = [axes[:at] + axes[at + 1 :] for axes in operands]
    result = aligned(propagation, tuple(len(labels) for labels in others[0]), others)
    return [*result[:at], joined, *result[at:]]


def _stack(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    operands = [propagation.axes(operand) for operand in arguments["tensors"]]
    shape = propagation.shape(node)
    at = arguments["dim"] % len(shape)
    result = aligned(propagation, shape[:at] + shape[at + 1 :], operands)
    result.insert(at, fixed(shape[at]))
    return result


def _cut(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> list[Axes]:
    """Rule of split and chunk: the pieces, one after the other."""
    axes = propagation.axes(arguments["self"])
    at = arguments["dim"] % len(axes)
    pieces, start = [], 0
    for shape in propagation.shapes[node]:
        labels = axes[at][start : start + shape[at]]
        pieces.append([*axes[:at], labels, *axes[at + 1 :]])
        start += shape[at]
    return pieces


def _unbind(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> list[Axes]:
    axes = propagation.axes(arguments["self"])
    at = arguments["dim"] % len(axes)
    propagation.atoms.fix(axes[at])
    return [axes[:at] + axes[at + 1 :] for _ in propagation.shapes[node]]


def _select(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes = propagation.axes(arguments["self"])
    at = arguments["dim"] % len(axes)
    propagation.atoms.fix(axes[at])
    return axes[:at] + axes[at + 1 :]


def _slice(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of slices: a part of an axis; every n-th index only where the axis stays a multiple of n."""
    axes = list(propagation.axes(arguments["self"]))
    at = arguments["dim"] % len(axes)
    labels, step = axes[at], arguments.get("step", 1)
    size = propagation.shape(node)[at]
    if size == len(labels):
        return axes
    start, end = arguments["start"] or 0, arguments.get("end")
    if not isinstance(start, int) or not (end is None or isinstance(end, int)):
        propagation.atoms.fix(labels)
        axes[at] = fixed(size)
        return axes
    if step > 1:
        start = start + len(labels) if start < 0 else start
        if start < step and len(labels) == size * step:
            outer_labels, phase = propagation.atoms.split(labels, [size, step])
            propagation.atoms.fix(phase)
            axes[at] = outer_labels
        else:
            propagation.atoms.fix(labels)
            axes[at] = fixed(size)
        return axes
    axes[at] = labels[start:end]
    return axes


def _narrow(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    start, length = arguments["start"], arguments["length"]
    return _slice(propagation, node, {**arguments, "end": start + length if start + length else None})


def _flip(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    axes = list(propagation.axes(arguments["self"]))
    for axis in arguments["dims"]:
        axes[axis] = axes[axis][::-1]
    return axes


def _hold_given(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of roll and triangle: the axes they work on stay, the others pass."""
    axes = list(propagation.axes(arguments["self"]))
    for axis in arguments.get("dims", (-1, -2)) or range(len(axes)):
        propagation.atoms.fix(axes[axis])
        axes[axis] = fixed(len(axes[axis]))
    return axes


def _size(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> None:
    # Arithmetic follows on what is known as a number alone.
    propagation.atoms.fix(propagation.axes(arguments["self"])[arguments["dim"]])


SHAPES: dict[Any, Rule] = {
    **dict.fromkeys(
        (
            aten.view,
            aten.reshape,
            aten._unsafe_view,
            aten.view_as,
            aten.reshape_as,
            aten.flatten,
            aten.unflatten,
            aten.squeeze,
            aten.squeeze_,
            aten.unsqueeze,
            aten.unsqueeze_,
        ),
        _view,
    ),
    aten.permute: _permute,
    aten.transpose: _transpose,
    aten.transpose_: _transpose,
    aten.swapaxes: _transpose,
    aten.swapdims: _transpose,
    aten.t: _reversed,
    aten.numpy_T: _reversed,
    aten.mT: lambda propagation, node, arguments: _transpose(
        propagation, node, {**arguments, "dim0": -1, "dim1": -2}
    ),
    aten.movedim: _movedim,
    aten.moveaxis: _movedim,
    aten.expand: _expand,
    aten.expand_as: lambda propagation, node, arguments: aligned(
        propagation,
        propagation.shape(node),
        [propagation.axes(arguments["self"]), propagation.axes(arguments["other"])],
    ),
    aten.zeros: _constant,
    aten.ones: _constant,
    aten.full: _constant,
    aten.new_zeros: _constant,
    aten.new_ones: _constant,
    aten.new_full: _constant,
    aten.arange: _sequence,
    aten.linspace: _sequence,
    aten.scalar_tensor: _sequence,
    aten.repeat: _repeat,
    aten.repeat_interleave: _repeat_interleave,
    aten.cat: _cat,
    aten.concat: _cat,
    aten.stack: _stack,
    aten.chunk: _cut,
    aten.split: _cut,
    aten.split_with_sizes: _cut,
    aten.tensor_split: _cut,
    aten.unbind: _unbind,
    aten.select: _select,
    aten.slice: _slice,
    aten.narrow: _narrow,
    aten.flip: _flip,
    aten.roll: _hold_given,
    aten.triu: _hold_given,
    aten.tril: _hold_given,
    aten.sym_size: _size,
}
