"""Rules for operators that compute every element from the elements at the same place."""

from __future__ import annotations

from typing import Any

from torch import fx

from compress.network.lifting.calls import aten
from compress.pruning.atoms import Labels, fixed
from compress.pruning.axes import Axes, Propagation, Rule


def elementwise(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of elementwise operators: axes that are aligned after broadcasting lose the same indices."""
    operands = [read for read in node.all_input_nodes if propagation.shapes[read] is not None]
    return aligned(propagation, propagation.shape(node), [propagation.axes(operand) for operand in operands])


def aligned(propagation: Propagation, shape: tuple[int, ...], operands: list[Axes]) -> Axes:
    """Return the axes of a tensor of this shape, to which these are broadcast; an index that is repeated stays."""
    result: list[Labels] = []
    for axis, size in enumerate(shape):
        position = axis - len(shape)
        propagation.fix_all(
            axes[position] for axes in operands if len(axes) >= -position and len(axes[position]) != size
        )
        same = [axes[position] for axes in operands if len(axes) >= -position and len(axes[position]) == size]
        for other in same[1:]:
            propagation.atoms.unify(same[0], other)
        result.append(same[0] if same else fixed(size))
    return result


def _like_first(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of results with the shape of the first operand, whatever the others are."""
    return propagation.axes(node.args[0])


def _dropped(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> None:
    return None


ELEMENTWISE: dict[Any, Rule] = {
    aten.hardswish: elementwise,
    aten.hardswish_: elementwise,
    aten.floor_divide: elementwise,
    aten.log_sigmoid: elementwise,
    aten.rsub: elementwise,
    aten.copy_: elementwise,
    aten.masked_fill_: elementwise,
    aten.where: elementwise,
    **dict.fromkeys(
        (
            aten.to,
            aten._to_copy,
            aten.contiguous,
            aten.clone,
            aten.alias,
            aten.detach,
            aten.detach_,
            aten.lift_fresh_copy,
            aten.type_as,
            aten.dropout,
            aten.feature_dropout,
            aten.zeros_like,
            aten.ones_like,
            aten.full_like,
            aten.empty_like,
            aten.fill_,
            aten.zero_,
        ),
        _like_first,
    ),
    aten._assert_tensor_metadata: _dropped,
    aten._assert_async: _dropped,
    aten._assert_scalar: _dropped,
}
