"""Rules for sums of products without a layer: matrix products, attention, layers with computed weights."""

from __future__ import annotations

from typing import Any

from torch import fx

from compress.network.lifting.calls import aten
from compress.pruning.atoms import Labels, fixed, merge
from compress.pruning.axes import Axes, Propagation, Rule
from compress.pruning.rules.elementwise import aligned
from compress.pruning.rules.reduction import hold_groups


def _matmul(found: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    left, right = [arguments[name] for name in ("self", _second(arguments))]
    one, other = found.axes(left), found.axes(right)
    inner = -2 if len(other) > 1 else -1
    found.atoms.unify(one[-1], other[inner])
    found.reads(node, left, -1)
    found.reads(node, right, inner)
    shape = found.shape(node)
    rows = one[-2:-1] if len(one) > 1 else []
    columns = other[-1:] if len(other) > 1 else []
    batch = aligned(found, shape[: len(shape) - len(rows) - len(columns)], [one[:-2], other[:-2]])
    found.computes(node, *batch, *rows, *columns, one[-1])
    return [*batch, *rows, *columns]


def _second(arguments: dict[str, Any]) -> str:
    return next(name for name in ("other", "mat2", "vec", "tensor") if name in arguments)


def _add_matmul(found: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of addmm and baddbmm: an addition that broadcasts, after the product."""
    product = {
        "self": arguments.get("mat1", arguments.get("batch1")),
        "other": arguments.get("mat2", arguments.get("batch2")),
    }
    result = _matmul(found, node, product)
    return aligned(found, found.shape(node), [result, found.axes(arguments["self"])])


def _einsum(found: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    equation, operands = arguments["equation"].replace(" ", ""), arguments["tensors"]
    terms, _, target = equation.partition("->")
    letters: dict[str, Labels] = {}
    named: list[list[str]] = []
    for term, operand in zip(terms.split(","), operands, strict=True):
        axes = found.axes(operand)
        names = _axis_names(term, len(axes))
        named.append(names)
        for name, labels in zip(names, axes, strict=True):
            if name not in letters or len(letters[name]) == 1:
                letters[name] = labels
            elif len(labels) > 1:
                found.atoms.unify(letters[name], labels)
    rank = len(found.shape(node))
    if "->" not in equation:
        once = sorted(letter for letter in set(terms) - {",", "."} if terms.count(letter) == 1)
        target = ("..." if "..." in terms else "") + "".join(once)
    kept = _axis_names(target, rank)
    for names, operand in zip(named, operands, strict=True):
        for axis, name in enumerate(names):
            if name not in kept:
                found.reads(node, operand, axis)
    found.computes(node, *letters.values())
    return [letters[name] for name in kept]


def _axis_names(term: str, rank: int) -> list[str]:
    """Return a name for every axis; those under the ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(str(number) for number in range(hidden, 0, -1) if dots), *after]


def _attention(found: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    """Rule of scaled dot-product attention over [..., length, width]; heads are an axis like any other.

    Grouped queries (``enable_gqa``): a key's head goes with all query heads that it serves.
    """
    names = ("query", "key", "value")
    query, key, value = (found.axes(arguments[name]) for name in names)
    if arguments.get("enable_gqa") and len(query[-3]) != len(key[-3]):
        served, _ = hold_groups(found, node, query[-3], len(key[-3]))
        found.atoms.unify(served, key[-3])
        found.atoms.unify(key[-3], value[-3])
        heads = [query[-3]]
        batch = aligned(found, found.shape(node)[:-3], [axes[:-3] for axes in (query, key, value)])
    else:
        heads = []
        batch = aligned(found, found.shape(node)[:-2], [axes[:-2] for axes in (query, key, value)])
    found.atoms.unify(query[-1], key[-1])
    found.reads(node, arguments["query"], -1)
    found.reads(node, arguments["key"], -1)
    found.fix_all([query[-2], key[-2], value[-2]])
    mask = arguments.get("attn_mask")
    if isinstance(mask, fx.Node):
        shape = [*(len(each) for each in (*batch, *heads)), len(query[-2]), len(key[-2])]
        whole = [*batch, *heads, query[-2], key[-2]]
        aligned(found, tuple(shape), [whole, found.axes(mask)])
    found.computes(node, *batch, *heads, query[-2], key[-2], query[-1])
    found.computes(node, *batch, *heads, query[-2], key[-2], value[-1])
    return [*batch, *heads, query[-2], value[-1]]


def _linear(found: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    weight = arguments["weight"]
    found.reads(node, weight, 1)
    bias = arguments.get("bias")
    return linear(
        found, node, arguments["input"], found.axes(weight), found.axes(bias) if bias is not None else None
    )


def linear(found: Propagation, node: fx.Node, operand: fx.Node, weight: Axes, bias: Axes | None) -> Axes:
    """Rule of a linear layer: [..., in] times [out, in]."""
    axes = found.axes(operand)
    found.atoms.unify(axes[-1], weight[1])
    found.reads(node, operand, -1)
    if bias is not None:
        found.atoms.unify(weight[0], bias[0])
    found.computes(node, *axes[:-1], weight[0], weight[1])
    return [*axes[:-1], weight[0]]


def _convolution(found: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Axes:
    weight, bias = arguments["weight"], arguments.get("bias")
    transposed = arguments.get("transposed", "transpose" in str(node.target))
    found.reads(node, weight, 0 if transposed else 1)
    return convolution(
        found,
        node,
        arguments["input"],
        found.axes(weight),
        found.axes(bias) if bias is not None else None,
        groups=arguments["groups"],
        transposed=transposed,
    )


def convolution(
    found: Propagation,
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
    axes, shape = found.axes(operand), found.shape(node)
    space = len(weight) - 2
    channels = axes[-space - 1]
    found.reads(node, operand, -space - 1)
    found.fix_all([*axes[len(axes) - space :], *weight[2:]])
    if transposed:
        found.atoms.unify(channels, weight[0])
        number, inner = hold_groups(found, node, channels, groups)
        outer = weight[1]
        out = merge([number, outer])
    else:
        number, inner = hold_groups(found, node, channels, groups)
        found.atoms.unify(inner, weight[1])
        number_out, outer = hold_groups(found, node, weight[0], groups)
        found.atoms.unify(number, number_out)
        out = weight[0]
    if bias is not None:
        found.atoms.unify(bias[0], out)
    spatial = [fixed(size) for size in shape[len(shape) - space :]]
    found.computes(node, *axes[: len(axes) - space - 1], number, outer, inner, *spatial, *weight[2:])
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
