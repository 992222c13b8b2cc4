"""Programs that were decomposed before they were saved: back to the operators that modules stand for.

``ExportedProgram.run_decompositions`` (and so many a saved ``.pt2``) writes a linear layer as ``addmm`` with a
transposed weight, and norms as the ``native_`` operators that return statistics nobody reads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import fx

from compress.lift_calls import aten, bind

_Arguments = Mapping[str, Any]  # every argument by name, keywords too, defaults filled in


class _Call(NamedTuple):
    """What to write in a call's place; an argument may be such a call itself."""

    target: Any
    arguments: tuple[Any, ...]


def compose(graph: fx.Graph) -> None:
    """Replace decomposed linear layers, norms and convolutions by the operators they came from."""
    for node in list(graph.nodes):
        rule = _RULES.get(node.target) if node.op == "call_function" else None
        composed = rule(bind(node)) if rule else None
        if composed is None:
            continue
        only_first = node.target in _WITH_STATISTICS
        if only_first and any(use.target is not operator.getitem or use.args[1] != 0 for use in node.users):
            continue
        replaced = list(node.users) if only_first else [node]
        with graph.inserting_before(node):
            call = _written(graph, composed, {"stack_trace": node.meta.get("stack_trace")})
        call.meta = dict(replaced[0].meta) if replaced else {}
        for each in replaced:
            each.replace_all_uses_with(call)
            graph.erase_node(each)
        if only_first:
            graph.erase_node(node)


def _written(graph: fx.Graph, call: _Call, meta: dict[str, Any]) -> fx.Node:
    arguments = [_written(graph, each, meta) if isinstance(each, _Call) else each for each in call.arguments]
    node = graph.call_function(call.target, tuple(arguments))
    node.meta = dict(meta)
    return node


def _addmm(given: _Arguments) -> _Call | None:
    """``beta · bias + alpha · x @ weight.T``; with both 1 and one bias for every row that is a linear layer."""
    weight, bias, alpha, beta = _transposed(given["mat2"]), given["self"], given["alpha"], given["beta"]
    if weight is None:
        return None
    if alpha == beta == 1 and isinstance(bias, fx.Node) and bias.meta["val"].dim() == 1:
        return _Call(aten.linear.default, (given["mat1"], weight, bias))
    product = _Call(aten.linear.default, (given["mat1"], weight, None))
    if alpha != 1:
        product = _Call(aten.mul.Tensor, (product, alpha))
    if beta == 0:
        return product  # PyTorch does not look at the bias then, be it NaN.
    return _Call(aten.add.Tensor, (product, bias if beta == 1 else _Call(aten.mul.Tensor, (bias, beta))))


def _mm(given: _Arguments) -> _Call | None:
    weight = _transposed(given["mat2"])
    return None if weight is None else _Call(aten.linear.default, (given["self"], weight, None))


def _transposed(value: Any) -> fx.Node | None:
    """The weight behind ``t(weight)`` or ``permute(weight, [1, 0])``."""
    if not isinstance(value, fx.Node) or value.op != "call_function":
        return None
    is_transpose = value.target is aten.t.default or (
        value.target is aten.permute.default and list(value.args[1]) == [1, 0]  # type: ignore[arg-type]
    )
    source = value.args[0] if is_transpose else None
    return source if isinstance(source, fx.Node) and source.op == "get_attr" else None


_OF_CONVOLUTION = (
    "input",
    "weight",
    "bias",
    "stride",
    "padding",
    "dilation",
    "transposed",
    "output_padding",
    "groups",
)


def _convolution(given: _Arguments) -> _Call:
    """What ``torch.jit.trace`` writes for every convolution, without its flags for a GPU's library: it has no ONNX form."""
    return _Call(aten.convolution.default, tuple(given[name] for name in _OF_CONVOLUTION))


def _batch_norm(given: _Arguments) -> _Call:
    tensor, weight, bias, mean, variance, momentum, eps = given.values()
    arguments = (tensor, weight, bias, mean, variance, False, momentum, eps, False)
    return _Call(aten.batch_norm.default, arguments)


def _layer_norm(given: _Arguments) -> _Call:
    return _Call(aten.layer_norm.default, (*given.values(), False))


def _group_norm(given: _Arguments) -> _Call:
    tensor, weight, bias, _, _, _, groups, eps = given.values()
    return _Call(aten.group_norm.default, (tensor, groups, weight, bias, eps, False))


_WITH_STATISTICS = frozenset(
    {
        aten._native_batch_norm_legit_no_training.default,
        aten.native_layer_norm.default,
        aten.native_group_norm.default,
    }
)
_RULES: dict[Any, Callable[[_Arguments], _Call | None]] = {
    aten.addmm.default: _addmm,
    aten.mm.default: _mm,
    aten._convolution.default: _convolution,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
}
