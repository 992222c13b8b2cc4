"""Calls that are written into a graph to replace others."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import fx


class WrittenCall(NamedTuple):
    """Call to write in place of another; an argument may be such a call itself.

    Attributes:
        target: Operator of the call.
        arguments: Positional arguments.
        keywords: Keyword arguments, by name.
    """

    target: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any] = {}  # noqa: RUF012


def written(graph: fx.Graph, call: WrittenCall | fx.Node, meta: dict[str, Any]) -> fx.Node:
    """Write a call and the calls that it takes, each once, and return its node.

    Args:
        graph: Graph to write to, at the point of insertion.
        call: Call to write; a node stands for itself.
        meta: Metadata for every node that is written.
    """
    done: dict[int, fx.Node] = {}

    def node_of(part: WrittenCall | fx.Node) -> fx.Node:
        if isinstance(part, fx.Node):
            return part
        if id(part) not in done:
            arguments = [node_of(one) if isinstance(one, WrittenCall) else one for one in part.arguments]
            node = graph.call_function(part.target, tuple(arguments), part.keywords)
            node.meta = dict(meta)
            done[id(part)] = node
        return done[id(part)]

    return node_of(call)
