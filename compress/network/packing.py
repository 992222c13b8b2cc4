"""Networks and what belongs to them, packed for another process: graphs keep their names, and so their identity.

A graph packed by torch itself is traced anew when it is unpacked, and gets other names.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from compress.core.installation import imported

#: What a module keeps of its tensors and layers.
_PARTS = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules", "training")


@dataclass(frozen=True)
class _Reference:
    """A node among the arguments of another, by its name."""

    name: str


class _Call(NamedTuple):
    """A node of a graph."""

    op: str
    name: str
    target: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    type: Any


def packed(content: Any) -> bytes:
    """Pack an object and all that it refers to; graphs, and functions of the user's own among it.

    Raises:
        UnavailableError: Ray is not installed, whose packing is used.
        Exception: Something that the object refers to cannot be packed.
    """
    cloudpickle = imported("ray.cloudpickle", "ray", "for --cluster")

    class Pickler(cloudpickle.Pickler):  # type: ignore[name-defined, misc]  # it comes with an extra
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, fx.GraphModule):
                parts = {name: value.__dict__[name] for name in _PARTS}
                return _graph_module, (parts, _calls(value.graph))
            if isinstance(value, torch._ops.OpOverload):
                return _operator, (value.namespace, value._opname, value._overloadname)
            return super().reducer_override(value)

    file = io.BytesIO()
    Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(content)
    return file.getvalue()


def _calls(graph: fx.Graph) -> list[_Call]:
    def reference(node: fx.Node) -> Any:
        return _Reference(node.name)

    def referred(arguments: Any) -> Any:
        return fx.node.map_arg(arguments, reference)

    return [
        _Call(node.op, node.name, node.target, referred(node.args), referred(node.kwargs), node.type)
        for node in graph.nodes
    ]


def _graph_module(parts: Mapping[str, Any], calls: Sequence[_Call]) -> fx.GraphModule:
    root = nn.Module()
    root.__dict__.update(parts)
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}

    def with_nodes(arguments: Any) -> Any:
        return fx.node.map_aggregate(
            arguments, lambda value: nodes[value.name] if isinstance(value, _Reference) else value
        )

    for call in calls:
        nodes[call.name] = graph.create_node(
            call.op, call.target, with_nodes(call.arguments), with_nodes(call.keywords), call.name, call.type
        )
    module = fx.GraphModule(root, graph)
    module.__dict__.update(parts)  # in its order, and with what no node refers to
    return module


def _operator(namespace: str, name: str, overload: str) -> Any:
    return getattr(getattr(getattr(torch.ops, namespace), name), overload)
