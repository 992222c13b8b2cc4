"""Rules for sums of products without a layer: matrix products, attention, layers with computed weights."""

from __future__ import annotations

from typing import Any

from torch import fx

from compress.network.lifting.calls import aten
from compress.pruning.atoms import Labels, fixed, merge
from compress.pruning.axes import Axes, Propagation, Rule
from compress.pruning.rules.elementwise import aligned
from compress.pruning.rules.reduction import hold_groups


def _matmul(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    first, right = [arguments[name] for name in ("self", _second(arguments))]
    one, other = propagation.axes(first), propagation.axes(right)
    inner = -2 if len(other) > 1 else -1
    propagation.atoms.unify(one[-1], other[inner])
    propagation.reads(node, first, -1)
    propagation.reads(node, right, inner)
    shape = propagation.shape(node)
    rows = one[-2:-1] if len(one) > 1 else []
    columns = other[-1:] if len(other) > 1 else []
    batch = aligned(propagation, shape[: len(shape) - len(rows) - len(columns)], [one[:-2], other[:-2]])
    propagation.computes(node, *batch, *rows, *columns, one[-1])
    return [*batch, *rows, *columns]


def _second(arguments: dict[str, Any]) -> str:
    return next(name for name in ("other", "mat2", "vec", "tensor") if name in arguments)


def _add_matmul(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of addmm and baddbmm: an addition that broadcasts, after the product."""
    product = {
        "self": arguments.get("mat1", arguments.get("batch1")),
        "other": arguments.get("mat2", arguments.get("batch2")),
    }
    result = _matmul(propagation, node, product)
    return aligned(propagation, propagation.shape(node), [result, propagation.axes(arguments["self"])])


def _einsum(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    equation, operands = arguments["equation"].replace(" ", ""), arguments["tensors"]
    terms, _, target = equation.partition("->")
    letters: dict[str, Labels] = {}
    named: list[list[str]] = []
    for term, operand in zip(terms.split(","), operands, strict=True):
        axes = propagation.axes(operand)
        names = _axis_names(term, len(axes))
        named.append(names)
        for name, labels in zip(names, axes, strict=True):
            if name not in letters or len(letters[name]) == 1:
                letters[name] = labels
            elif len(labels) > 1:
                propagation.atoms.unify(letters[name], labels)
    rank = len(propagation.shape(node))
    if "->" not in equation:
        once = sorted(letter for letter in set(terms) - {",", "."} if terms.count(letter) == 1)
        target = ("..." if "..." in terms else "") + "".join(once)
    axis_letters = _axis_names(target, rank)
    for names, operand in zip(named, operands, strict=True):
        for axis, name in enumerate(names):
            if name not in axis_letters:
                propagation.reads(node, operand, axis)
    propagation.computes(node, *letters.values())
    return [letters[name] for name in axis_letters]


def _axis_names(term: str, rank: int) -> list[str]:
    """Return a name for every axis; those under the ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(str(number) for number in range(hidden, 0, -1) if dots), *after]


def _attention(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of scaled dot-product attention over [..., length, width]; heads are an axis like any other.

    Grouped queries (``enable_gqa``): a key's head goes with all query heads that it serves.
    """
    names = ("query", "key", "value")
    query, key, value = (propagation.axes(arguments[name]) for name in names)
    if arguments.get("enable_gqa") and len(query[-3]) != len(key[-3]):
        served, _ = hold_groups(propagation, node, query[-3], len(key[-3]))
        propagation.atoms.unify(served, key[-3])
        propagation.atoms.unify(key[-3], value[-3])
        heads = [query[-3]]
        batch = aligned(
            propagation, propagation.shape(node)[:-3], [axes[:-3] for axes in (query, key, value)]
        )
    else:
        heads = []
        batch = aligned(
            propagation, propagation.shape(node)[:-2], [axes[:-2] for axes in (query, key, value)]
        )
    propagation.atoms.unify(query[-1], key[-1])
    propagation.reads(node, arguments["query"], -1)
    propagation.reads(node, arguments["key"], -1)
    propagation.fix_all([query[-2], key[-2], value[-2]])
    mask = arguments.get("attn_mask")
    if isinstance(mask, fx.Node):
        shape = [*(len(labels) for labels in (*batch, *heads)), len(query[-2]), len(key[-2])]
        all_axes = [*batch, *heads, query[-2], key[-2]]
        aligned(propagation, tuple(shape), [all_axes, propagation.axes(mask)])
    propagation.computes(node, *batch, *heads, query[-2], key[-2], query[-1])
    propagation.computes(node, *batch, *heads, query[-2], key[-2], value[-1])
    return [*batch, *heads, query[-2], value[-1]]


def _linear(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    weight = arguments["weight"]
    propagation.reads(node, weight, 1)
    bias = arguments.get("bias")
    return linear(
        propagation,
        node,
        arguments["input"],
        propagation.axes(weight),
        propagation.axes(bias) if bias is not None else None,
    )


def linear(
    propagation: Propagation, node: fx.Node, operand: fx.Node, weight: Axes, bias: Axes | None
) -> Axes:
    """Rule of a linear layer: [..., in] times [out, in]."""
    axes = propagation.axes(operand)
    propagation.atoms.unify(axes[-1], weight[1])
    propagation.reads(node, operand, -1)
    if bias is not None:
        propagation.atoms.unify(weight[0], bias[0])
    propagation.computes(node, *axes[:-1], weight[0], weight[1])
    return [*axes[:-1], weight[0]]


def _convolution(propagation: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    weight, bias = arguments["weight"], arguments.get("bias")
    transposed = arguments.get("transposed", "transpose" in str(node.target))
    propagation.reads(node, weight, 0 if transposed else 1)
    return convolution(
        propagation,
        node,
        arguments["input"],
        propagation.axes(weight),
        propagation.axes(bias) if bias is not None else None,
        groups=arguments["groups"],
        transposed=transposed,
    )


def convolution(
    propagation: Propagation,
    node: fx.Node,
    operand: fx.Node,
    weight: Axes,
    bias: Axes | None,
    *,
    groups: int,
    transposed: bool,
) -> Axes:
    """Rule of a convolution of [batch, in, *space] with [out, in / groups, *kernel] (transposed: [in, out / groups]).

    Groups go as a whole, with their inputs and outputs; or the same share of each group's inputs or outputs.
    """
    axes, shape = propagation.axes(operand), propagation.shape(node)
    space = len(weight) - 2
    channels = axes[-space - 1]
    propagation.reads(node, operand, -space - 1)
    propagation.fix_all([*axes[len(axes) - space :], *weight[2:]])
    if transposed:
        propagation.atoms.unify(channels, weight[0])
        number, inner = hold_groups(propagation, node, channels, groups)
        outer = weight[1]
        out = merge([number, outer])
    else:
        number, inner = hold_groups(propagation, node, channels, groups)
        propagation.atoms.unify(inner, weight[1])
        number_out, outer = hold_groups(propagation, node, weight[0], groups)
        propagation.atoms.unify(number, number_out)
        out = weight[0]
    if bias is not None:
        propagation.atoms.unify(bias[0], out)
    spatial = [fixed(size) for size in shape[len(shape) - space :]]
    propagation.computes(node, *axes[: len(axes) - space - 1], number, outer, inner, *spatial, *weight[2:])
    return [*axes[: len(axes) - space - 1], out, *spatial]


#: Every operator that convolves, transposed or not.
CONVOLUTIONS = (
    aten.conv1d,
    aten.conv2d,
    aten.conv3d,
    aten.conv_transpose1d,
    aten.conv_transpose2d,
    aten.conv_transpose3d,
    aten.convolution,
)

CONTRACTIONS: dict[Any, Rule] = {
    **dict.fromkeys((aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot), _matmul),
    aten.addmm: _add_matmul,
    aten.baddbmm: _add_matmul,
    aten.einsum: _einsum,
    aten.scaled_dot_product_attention: _attention,
    aten.linear: _linear,
    **dict.fromkeys(CONVOLUTIONS, _convolution),
}
