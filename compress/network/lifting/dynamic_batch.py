"""Sizes that follow the batch, found by comparing two traces.

A trace with every size fixed holds ``view(x, [10, 16])`` where the source said ``view(x, [2 * batch, 16])``. Traced
at two batch sizes, the two graphs differ in exactly the numbers that depend on the batch.
"""

from __future__ import annotations

import operator
from operator import attrgetter
from typing import Any

import torch
from torch import fx, nn

from compress.network.lifting.calls import aten, drop_unused


class _Differs(Exception):  # noqa: N818
    """The two graphs differ in more than multiples of the batch."""


def _equal(first: fx.GraphModule, second: fx.GraphModule, path: str) -> bool:
    one, other = (attrgetter(path)(module) for module in (first, second))
    same = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return one is other or (same and torch.equal(one, other))


def merge_batches(
    first: fx.GraphModule, second: fx.GraphModule, sizes: tuple[int, int], axis: int = 0
) -> fx.GraphModule | None:
    """Return the first graph with every number that follows the batch computed from the first input's size.

    Args:
        first: Graph traced with ``sizes[0]`` rows. It is changed.
        second: Graph of the same network traced with ``sizes[1]`` rows.
        sizes: Two different batch sizes, > 0.
        axis: Axis of the first input that counts samples.

    Returns:
        The graph; None where the two do not differ by multiples of the batch alone.
    """
    graph = first.graph
    pairs = list(zip(graph.nodes, second.graph.nodes, strict=False))
    inputs = graph.find_nodes(op="placeholder")
    if len(graph.nodes) != len(second.graph.nodes) or not inputs:
        return None
    with graph.inserting_after(inputs[-1]):
        batch = graph.call_function(aten.sym_size.int, (inputs[0], axis))
    multiples: dict[int, Any] = {1: batch}
    last = batch

    def merged(one: Any, other: Any) -> Any:
        nonlocal last
        if type(one) is not type(other):
            raise _Differs
        if isinstance(one, fx.Node):
            return one
        if isinstance(one, list | tuple):
            if len(one) != len(other):
                raise _Differs
            return [merged(*pair) for pair in zip(one, other, strict=True)]
        if one == other:
            return one
        if not isinstance(one, int) or one % sizes[0] or one // sizes[0] * sizes[1] != other:
            raise _Differs
        multiple = one // sizes[0]
        if multiple not in multiples:
            with graph.inserting_after(last):
                multiples[multiple] = last = graph.call_function(operator.mul, (batch, multiple))
        return multiples[multiple]

    try:
        for one, other in pairs:
            if (one.op, str(one.target)) != (other.op, str(other.target)):
                raise _Differs
            if one.op == "get_attr" and not _equal(first, second, str(one.target)):
                raise _Differs  # a batch size that was held as a tensor
            if one.op == "call_function":
                one.args = tuple(merged(list(one.args), list(other.args)))
    except _Differs:
        return None
    drop_unused(graph)
    return fx.GraphModule(first, graph)


def with_names(watched: fx.GraphModule, module: nn.Module) -> fx.GraphModule:
    """Return a graph with a module's weights, which were taken for constants, under their own names again."""
    graph = watched.graph
    parameters = {
        name: nn.Parameter(parameter, parameter.requires_grad)
        for name, parameter in module.named_parameters()
    }
    named = parameters | dict(module.named_buffers())
    names = {(tensor.data_ptr(), tensor.shape): name for name, tensor in named.items()}
    attributes: dict[str, Any] = {}

    def name_of(value: torch.Tensor, otherwise: str) -> str:
        name = names.get((value.data_ptr(), value.shape), otherwise)
        attributes[name] = parameters.get(name, value)
        return name

    for node in graph.find_nodes(op="get_attr"):
        value = _attribute(watched, str(node.target))
        node.target = name_of(value, str(node.target))
    return fx.GraphModule(attributes, graph)


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value
