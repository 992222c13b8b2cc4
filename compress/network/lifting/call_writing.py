"""Calls that are written into a graph in the place of others."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import fx


class WrittenCall(NamedTuple):
    """What to write in a call's place; an argument may be such a call itself.

    Attributes:
        target: The operator.
        arguments: By position.
        keywords: By name.
    """

    target: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any] = {}  # noqa: RUF012


def written(graph: fx.Graph, call: WrittenCall | fx.Node, meta: dict[str, Any]) -> fx.Node:
    """The node of a call, with those of the calls that it takes before it; a call that is taken twice is written once.

    Args:
        graph: Where it is written, at the point of insertion.
        call: The call; a node stands for itself.
        meta: Metadata for every node that is written.
    """
    done: dict[int, fx.Node] = {}

    def node_of(each: WrittenCall | fx.Node) -> fx.Node:
        if isinstance(each, fx.Node):
            return each
        if id(each) not in done:
            arguments = [node_of(one) if isinstance(one, WrittenCall) else one for one in each.arguments]
            node = graph.call_function(each.target, tuple(arguments), each.keywords)
            node.meta = dict(meta)
            done[id(each)] = node
        return done[id(each)]

    return node_of(call)
