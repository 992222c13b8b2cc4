"""Rules for operators that compute statistics over axes, and those that normalise by them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx
from torch._ops import OpOverload

from compress.network.lifting.calls import aten
from compress.pruning.atoms import Labels, fixed
from compress.pruning.axes import Axes, Propagation, Rule
from compress.pruning.rules.elementwise import elementwise


def _reduce(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Any:
    """Rule of a statistic over some axes, in which removed indices no longer count."""
    operand, axis_argument = arguments["self"], arguments.get("dim")
    axes, shapes = propagation.axes(operand), propagation.shapes[node]
    if axis_argument is None or axis_argument == []:
        axis_argument = range(len(axes))
    reduced = {
        axis % len(axes) for axis in ([axis_argument] if isinstance(axis_argument, int) else axis_argument)
    }
    for axis in reduced:
        propagation.reads(node, operand, axis, skips=True)
    several = not isinstance(shapes, torch.Size)
    keepdim = len(shapes[0] if several else shapes) == len(axes)
    result = [
        fixed(1) if axis in reduced else labels
        for axis, labels in enumerate(axes)
        if keepdim or axis not in reduced
    ]
    if several:
        if _positions_are_used(node):  # they would be others after removal
            propagation.hold(node, [axes[axis] for axis in reduced])
        return [result] * len(shapes)
    return result


def _positions_are_used(node: fx.Node) -> bool:
    """Whether any node reads the positions that a statistic returns beside its values."""
    assert isinstance(node.target, OpOverload)
    if node.target.overloadpacket not in _WITH_POSITIONS:
        return False
    return any(use.target is not operator.getitem or (use.args[1] != 0 and use.users) for use in node.users)


def _binary_or_reduce(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Any:
    if "other" in arguments:
        return elementwise(propagation, node, arguments)
    return _reduce(propagation, node, arguments)


def _along(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of softmax and cumulative sums: the axis they run along stays, the others pass."""
    axes = list(propagation.axes(arguments["self"]))
    at = arguments["dim"] % len(axes)
    propagation.hold(node, [axes[at]])
    axes[at] = fixed(len(axes[at]))
    return axes


def _arg(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of positions: the axis they count along stays."""
    axes = propagation.axes(arguments["self"])
    if arguments.get("dim") is None:
        propagation.hold(node, axes)
        return []
    at = arguments["dim"] % len(axes)
    propagation.hold(node, [axes[at]])
    return [*axes[:at], *([fixed(1)] if arguments.get("keepdim") else []), *axes[at + 1 :]]


def layer_norm(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of layer norm: statistics over the remaining indices of the last axes."""
    axes = propagation.axes(arguments["input"])
    count = len(arguments["normalized_shape"])
    for axis in range(-count, 0):
        propagation.reads(node, arguments["input"], axis, skips=True)
    for name in ("weight", "bias"):
        if isinstance(arguments.get(name), fx.Node):
            propagation.unify_all(propagation.axes(arguments[name]), axes[-count:])
    return axes


def group_norm(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of group norm: whole groups vanish, or the same share of each."""
    axes = propagation.axes(arguments["input"])
    for name in ("weight", "bias"):
        if isinstance(arguments.get(name), fx.Node):
            propagation.unify_all(propagation.axes(arguments[name]), axes[1:2])
    hold_groups(propagation, node, axes[1], arguments["num_groups"])
    propagation.reads(node, arguments["input"], 1, skips=True)
    propagation.fix_all(axes[2:])
    return axes


def hold_groups(
    propagation: Propagation, node: fx.Node, labels: Labels, groups: int
) -> tuple[Labels, Labels]:
    """State that an axis stays a grid of groups times members, and return the labels of both."""
    outer, inner = propagation.atoms.split(labels, [groups, len(labels) // groups])
    propagation.grids[node] = outer
    return outer, inner


def _glu(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of GLU: both halves of the axis lose the same indices."""
    axes = list(propagation.axes(arguments["self"]))
    at = arguments["dim"] % len(axes)
    values, gates = np.split(axes[at], 2)
    propagation.atoms.unify(values, gates)
    axes[at] = values
    return axes


#: Statistics over one axis that return values, and where these are.
_WITH_POSITIONS = (aten.max, aten.min, aten.median, aten.nanmedian)

REDUCTIONS: dict[Any, Rule] = {
    **dict.fromkeys(
        (
            aten.mean,
            aten.sum,
            aten.amax,
            aten.amin,
            aten.var,
            aten.std,
            aten.norm,
            aten.linalg_vector_norm,
            aten.logsumexp,
            aten.median,
            aten.nanmedian,
            aten.var_mean,
            aten.std_mean,
            aten.aminmax,
            aten.any,
            aten.all,
        ),
        _reduce,
    ),
    aten.max: _binary_or_reduce,
    aten.min: _binary_or_reduce,
    aten.softmax: _along,
    aten._softmax: _along,
    aten.log_softmax: _along,
    aten._log_softmax: _along,
    aten.cumsum: _along,
    aten.argmax: _arg,
    aten.argmin: _arg,
    aten.layer_norm: layer_norm,
    aten.rms_norm: layer_norm,
    aten.group_norm: group_norm,
    aten.glu: _glu,
}
