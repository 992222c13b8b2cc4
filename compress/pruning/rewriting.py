"""Rewriting of calls whose arguments are sizes, positions or scales that removal changes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx
from torch._ops import OpOverload

from compress.network.lifting.calls import aten, bind
from compress.pruning.atoms import Labels
from compress.pruning.groups import Channels
from compress.pruning.rules.contraction import CONVOLUTIONS


def rewrite_call(channels: Channels, removed: NDArray[np.bool_], node: fx.Node, copied: fx.Node) -> None:
    """Give a call the arguments that fit the remaining units.

    Args:
        channels: Units found in the original graph.
        removed: Atoms that are removed, ``bool[atoms]``.
        node: The call in the original graph.
        copied: The same call in the copy, which is changed.
    """
    if isinstance(node.target, OpOverload):
        rewrite = _REWRITES.get(node.target.overloadpacket)
        if rewrite is not None:
            rewrite(_Call(channels, removed, node, copied, bind(node)))


@dataclass(frozen=True)
class _Call:
    channels: Channels
    removed: NDArray[np.bool_]
    node: fx.Node
    copied: fx.Node
    arguments: dict[str, Any]  # of the original, by name

    def kept(self, labels: Labels) -> NDArray[np.bool_]:
        return self.channels.kept(labels, self.removed)

    def left(self, labels: Labels) -> int:
        return int(self.kept(labels).sum())

    def axes(self, argument: str) -> list[Labels]:
        return self.channels.propagation.axes(self.arguments[argument])

    def replace(self, **values: Any) -> None:
        """Set arguments by their schema's names."""
        for position, argument in enumerate(self.copied.target._schema.arguments):  # type: ignore[union-attr]
            if argument.name in values:
                if position < len(self.copied.args):
                    self.copied.update_arg(position, values[argument.name])
                else:
                    self.copied.update_kwarg(argument.name, values[argument.name])

    def sizes(self, old_sizes: Sequence[Any], axes: Sequence[Labels]) -> list[Any] | None:
        """Return sizes for these axes in place of the given ones, or None where nothing changes."""
        new_sizes = [self.left(labels) for labels in axes]
        if all(size == len(labels) for size, labels in zip(new_sizes, axes, strict=True)):
            return None
        return [
            size if new == len(labels) or size == -1 else self._size(size, new)
            for size, new, labels in zip(old_sizes, new_sizes, axes, strict=True)
        ]

    def _size(self, old: Any, new: int) -> Any:
        if isinstance(old, int):
            return new
        # Computed from the batch: batch · heads, for one.
        graph = self.copied.graph
        number, axis = self.channels.counted
        counted = list(graph.find_nodes(op="placeholder"))[number]
        rows = self.channels.rows
        with graph.inserting_before(self.copied):
            batch = graph.call_function(aten.sym_size.int, (counted, axis))
            return graph.call_function(operator.mul, (batch, new // rows))


def _view(call: _Call) -> None:
    name = "shape" if "shape" in call.arguments else "size"
    if name not in call.arguments:
        return  # a view as another dtype
    sizes = call.sizes(_copied_sizes(call, name), call.channels.propagation.axes(call.node))
    if sizes is not None:
        # A view of what was contiguous may have to be a copy now.
        operand = call.copied.args[0]
        call.copied.target = aten.reshape.default
        call.copied.args, call.copied.kwargs = (operand, sizes), {}


def _copied_sizes(call: _Call, name: str) -> list[Any]:
    """Return the sizes in the copy, whose computed sizes are its own nodes."""
    return list(bind(call.copied)[name])


def _sized(call: _Call) -> None:
    """Rewrite the sizes of expand, zeros, ones and full."""
    sizes = call.sizes(_copied_sizes(call, "size"), call.channels.propagation.axes(call.node))
    if sizes is not None:
        call.replace(size=sizes)


def _unflatten(call: _Call) -> None:
    axes = call.channels.propagation.axes(call.node)
    old_sizes = _copied_sizes(call, "sizes")
    at = call.arguments["dim"] % len(call.axes("self"))
    sizes = call.sizes(old_sizes, axes[at : at + len(old_sizes)])
    if sizes is not None:
        call.replace(sizes=sizes)


def _cut(call: _Call) -> None:
    """Rewrite the pieces of an axis, which may have different sizes after removal."""
    labels = call.axes("self")
    at = call.arguments["dim"] % len(labels)
    if call.left(labels[at]) == len(labels[at]):
        return
    pieces = [call.left(axes[at]) for axes in call.channels.propagation.values[call.node]]
    call.copied.target = aten.split_with_sizes.default
    call.copied.args, call.copied.kwargs = (call.copied.args[0], pieces, at), {}


def _slice(call: _Call) -> None:
    labels = call.axes("self")
    at = call.arguments["dim"] % len(labels)
    mask = call.kept(labels[at])
    if mask.all():
        return
    start, end = call.arguments["start"] or 0, call.arguments.get("end")
    if call.arguments["step"] > 1:  # from each of as many equal parts as are left
        call.replace(end=int(mask.sum()))
        return
    is_all = len(call.channels.propagation.axes(call.node)[at]) == len(mask)
    call.replace(
        start=0 if is_all else int(mask[:start].sum()),
        end=int(mask.sum()) if is_all else int(mask[:end].sum()),
    )


def _narrow(call: _Call) -> None:
    labels = call.axes("self")
    at = call.arguments["dim"] % len(labels)
    mask = call.kept(labels[at])
    if not mask.all():
        start, length = call.arguments["start"] % len(mask), call.arguments["length"]
        call.replace(start=int(mask[:start].sum()), length=int(mask[start : start + length].sum()))


def _attention(call: _Call) -> None:
    """Set the scale of attention to that of the original width."""
    width = call.axes("query")[-1]
    if call.arguments.get("scale") is None and call.left(width) != len(width):
        call.replace(scale=1 / math.sqrt(len(width)))


def _layer_norm(call: _Call) -> None:
    count = len(call.arguments["normalized_shape"])
    call.replace(normalized_shape=[call.left(labels) for labels in call.axes("input")[-count:]])


def _groups(name: str) -> Callable[[_Call], None]:
    def rewrite(call: _Call) -> None:
        call.replace(**{name: call.left(call.channels.propagation.grids[call.node])})

    return rewrite


_REWRITES: dict[Any, Callable[[_Call], None]] = {
    aten.view: _view,
    aten.reshape: _view,
    aten._unsafe_view: _view,
    aten.unflatten: _unflatten,
    **dict.fromkeys(
        (aten.expand, aten.zeros, aten.ones, aten.full, aten.new_zeros, aten.new_ones, aten.new_full), _sized
    ),
    **dict.fromkeys((aten.chunk, aten.split, aten.split_with_sizes, aten.tensor_split), _cut),
    aten.slice: _slice,
    aten.narrow: _narrow,
    aten.scaled_dot_product_attention: _attention,
    aten.layer_norm: _layer_norm,
    aten.rms_norm: _layer_norm,
    aten.group_norm: _groups("num_groups"),
    aten.channel_shuffle: _groups("groups"),
    aten.native_channel_shuffle: _groups("groups"),
    **dict.fromkeys(CONVOLUTIONS, _groups("groups")),
}
