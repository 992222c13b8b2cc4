"""Programs that were decomposed before they were saved: back to the operators that modules stand for.

``ExportedProgram.run_decompositions`` (and so many a saved ``.pt2``) writes a linear layer as ``addmm`` with a
transposed weight, and norms as the ``native_`` operators that return statistics nobody reads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from torch import fx

from compress.lift_calls import aten

_Call = tuple[Any, tuple[Any, ...]]  # operator, arguments


def compose(graph: fx.Graph) -> None:
    """Replace decomposed linear layers and norms by the operators they came from."""
    for node in list(graph.nodes):
        rule = _RULES.get(node.target) if node.op == "call_function" else None
        composed = rule(node.args) if rule else None
        if composed is None:
            continue
        only_first = node.target in _WITH_STATISTICS
        if only_first and any(use.target is not operator.getitem or use.args[1] != 0 for use in node.users):
            continue
        replaced = list(node.users) if only_first else [node]
        with graph.inserting_before(node):
            call = graph.call_function(*composed)
        call.meta = dict(replaced[0].meta) if replaced else {}
        for each in replaced:
            each.replace_all_uses_with(call)
            graph.erase_node(each)
        if only_first:
            graph.erase_node(node)


def _addmm(args: Sequence[Any]) -> _Call | None:
    weight = _transposed(args[2])
    # One bias for every row; a matrix would be an addition of its own.
    bias_is_vector = isinstance(args[0], fx.Node) and args[0].meta["val"].dim() == 1
    return (
        (aten.linear.default, (args[1], weight, args[0])) if weight is not None and bias_is_vector else None
    )


def _mm(args: Sequence[Any]) -> _Call | None:
    weight = _transposed(args[1])
    return (aten.linear.default, (args[0], weight, None)) if weight is not None else None


def _transposed(value: Any) -> fx.Node | None:
    """The weight behind ``t(weight)`` or ``permute(weight, [1, 0])``."""
    if not isinstance(value, fx.Node) or value.op != "call_function":
        return None
    is_transpose = value.target is aten.t.default or (
        value.target is aten.permute.default and list(value.args[1]) == [1, 0]  # type: ignore[arg-type]
    )
    source = value.args[0] if is_transpose else None
    return source if isinstance(source, fx.Node) and source.op == "get_attr" else None


def _batch_norm(args: Sequence[Any]) -> _Call:
    tensor, weight, bias, mean, variance, momentum, eps = args
    return aten.batch_norm.default, (tensor, weight, bias, mean, variance, False, momentum, eps, False)


def _layer_norm(args: Sequence[Any]) -> _Call:
    return aten.layer_norm.default, (*args, False)


def _group_norm(args: Sequence[Any]) -> _Call:
    tensor, weight, bias, _, _, _, groups, eps = args
    return aten.group_norm.default, (tensor, groups, weight, bias, eps, False)


_WITH_STATISTICS = frozenset(
    {
        aten._native_batch_norm_legit_no_training.default,
        aten.native_layer_norm.default,
        aten.native_group_norm.default,
    }
)
_RULES: dict[Any, Callable[[Sequence[Any]], _Call | None]] = {
    aten.addmm.default: _addmm,
    aten.mm.default: _mm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
}
