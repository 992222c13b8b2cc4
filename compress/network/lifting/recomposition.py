"""Recomposition of programs that were decomposed before they were saved: back to operators of modules.

So are calls that ONNX has no form of, or one that means something else for a batch of one sample.
``ExportedProgram.run_decompositions`` (and so many a saved ``.pt2``) writes a linear layer as ``addmm`` with a
transposed weight, and norms as the ``native_`` operators that return statistics nobody reads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from torch import fx

from compress.network.lifting.call_writing import WrittenCall as _Call
from compress.network.lifting.call_writing import written
from compress.network.lifting.calls import aten, bind
from compress.network.lifting.convolutions_by_sample import convolution as convolution_by_sample
from compress.network.lifting.embedding_bags import BAGS, embedding_bag
from compress.network.lifting.without_onnx_form import RULES as UNKNOWN
from compress.network.lifting.without_onnx_form import WITH_PLACES

_Arguments = Mapping[str, Any]  # every argument by name, keywords too, defaults filled in


def compose(graph: fx.Graph) -> None:
    """Replace decomposed linear layers, norms and convolutions by the operators they came from."""
    for node in list(graph.nodes):
        rule = _RULES.get(node.target) if node.op == "call_function" else None
        composed = rule(bind(node)) if rule else None
        if composed is None:
            continue
        only_first = node.target in _WITH_STATISTICS
        unread = [
            use for use in node.users if only_first and use.target is operator.getitem and not use.users
        ]
        for use in unread:
            graph.erase_node(use)
        if only_first and any(use.target is not operator.getitem or use.args[1] != 0 for use in node.users):
            continue
        replaced = list(node.users) if only_first else [node]
        with graph.inserting_before(node):
            call = written(graph, composed, {"stack_trace": node.meta.get("stack_trace")})
        if isinstance(composed, _Call):
            call.meta = dict(replaced[0].meta) if replaced else {}
        for old in replaced:
            old.replace_all_uses_with(call)
            graph.erase_node(old)
        if only_first:
            graph.erase_node(node)


def _addmm(arguments: _Arguments) -> _Call | None:
    """Compose ``beta · bias + alpha · x @ weight.T`` to a linear layer, where both are 1 and all rows share a bias."""
    weight, bias, alpha, beta = (
        _transposed(arguments["mat2"]),
        arguments["self"],
        arguments["alpha"],
        arguments["beta"],
    )
    if weight is None:
        return None
    if alpha == beta == 1 and isinstance(bias, fx.Node) and bias.meta["val"].dim() == 1:
        return _Call(aten.linear.default, (arguments["mat1"], weight, bias))
    product = _Call(aten.linear.default, (arguments["mat1"], weight, None))
    if alpha != 1:
        product = _Call(aten.mul.Tensor, (product, alpha))
    if beta == 0:
        return product  # PyTorch does not look at the bias then, be it NaN.
    return _Call(aten.add.Tensor, (product, bias if beta == 1 else _Call(aten.mul.Tensor, (bias, beta))))


def _mm(arguments: _Arguments) -> _Call | None:
    weight = _transposed(arguments["mat2"])
    return None if weight is None else _Call(aten.linear.default, (arguments["self"], weight, None))


def _transposed(value: Any) -> fx.Node | None:
    """Return the weight behind ``t(weight)`` or ``permute(weight, [1, 0])``."""
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


def _convolution(arguments: _Arguments) -> _Call:
    """Compose the convolution of ``torch.jit.trace``, which has flags of cuDNN and no ONNX form."""
    return convolution_by_sample(arguments) or _Call(
        aten.convolution.default, tuple(arguments[name] for name in _OF_CONVOLUTION)
    )


def _attention(arguments: _Arguments) -> _Call | None:
    """Give attention of ``[batch, length, width]`` an axis of heads of size 1, which ONNX requires."""
    tensors, mask = [arguments[name] for name in ("query", "key", "value")], arguments["attn_mask"]
    if any("val" not in tensor.meta or tensor.meta["val"].dim() != 3 for tensor in tensors):
        return None
    if isinstance(mask, fx.Node) and mask.meta["val"].dim() == 3:
        mask = _Call(aten.unsqueeze.default, (mask, 1))
    with_heads = [_Call(aten.unsqueeze.default, (tensor, 1)) for tensor in tensors]
    target = _Call(
        aten.scaled_dot_product_attention.default,
        (*with_heads, mask, arguments["dropout_p"], arguments["is_causal"]),
        {"scale": arguments["scale"], "enable_gqa": arguments["enable_gqa"]},
    )
    return _Call(aten.squeeze.dim, (target, 1))


def _squeeze(arguments: _Arguments) -> _Call | fx.Node:
    """Make ``squeeze`` drop the axes of size 1 in every batch, not the batch axis of a single sample."""
    tensor = arguments["self"]
    shape = tensor.meta["val"].shape
    named = arguments.get("dim", list(range(len(shape))))
    axes = [axis % len(shape) for axis in ([named] if isinstance(named, int) else named) if shape]
    squeezed = [axis for axis in axes if isinstance(shape[axis], int) and shape[axis] == 1]
    # One that is computed was 1 in the batch of two of the trace; the exporter may not see that it always is.
    computed = [axis for axis in axes if not isinstance(shape[axis], int) and shape[axis].node.hint == 1]
    for axis in sorted(computed, reverse=True):
        tensor = _Call(aten.select.int, (tensor, axis, 0))
    squeezed = [axis - sum(other < axis for other in computed) for axis in squeezed]
    return _Call(aten.squeeze.dims, (tensor, squeezed)) if squeezed else tensor


def _batch_norm(given: _Arguments) -> _Call:
    tensor, weight, bias, mean, variance, momentum, eps = given.values()
    arguments = (tensor, weight, bias, mean, variance, False, momentum, eps, False)
    return _Call(aten.batch_norm.default, arguments)


def _layer_norm(arguments: _Arguments) -> _Call:
    return _Call(aten.layer_norm.default, (*arguments.values(), False))


def _group_norm(arguments: _Arguments) -> _Call:
    tensor, weight, bias, _, _, _, groups, eps = arguments.values()
    return _Call(aten.group_norm.default, (tensor, groups, weight, bias, eps, False))


_WITH_STATISTICS = (
    BAGS
    | WITH_PLACES
    | frozenset(
        {
            aten._native_batch_norm_legit_no_training.default,
            aten.native_layer_norm.default,
            aten.native_group_norm.default,
        }
    )
)
_RULES: dict[Any, Callable[[_Arguments], _Call | fx.Node | None]] = {
    **UNKNOWN,
    aten.addmm.default: _addmm,
    aten.mm.default: _mm,
    aten._convolution.default: _convolution,
    aten.conv1d.default: convolution_by_sample,
    aten.conv2d.default: convolution_by_sample,
    aten.convolution.default: convolution_by_sample,
    aten.conv_transpose1d.default: convolution_by_sample,
    aten.conv_transpose2d.input: convolution_by_sample,
    **dict.fromkeys(BAGS, embedding_bag),
    aten.scaled_dot_product_attention.default: _attention,
    aten.squeeze.default: _squeeze,
    aten.squeeze.dim: _squeeze,
    aten.squeeze.dims: _squeeze,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
}
