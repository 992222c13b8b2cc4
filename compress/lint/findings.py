"""Subject and findings of lint's rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import onnx
from numpy.typing import NDArray

from compress.onnx_graph.graph import Graph, attribute, subgraphs, tensors_read
from compress.onnx_graph.shapes import with_types
from compress.target.target import Target

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """A part of a graph that its target refuses, or runs badly.

    Attributes:
        rule: Name of the rule, stable across releases.
        severity: Severity, ``error``: the target refuses the graph or computes something else. ``warning``: it runs,
            but slower or otherwise than one might think. ``note``: a limit that matters in one way of deploying it
            only, or something that could not be checked.
        node: Name of the node, of its first output where it has none; empty for the graph as a whole.
        message: Sentence that says what was found and why it matters.
        fix: Next step, as an imperative.
        source: Document, or runtime, that the rule follows from; empty for ONNX's own rules.
        rewrite: Name of the rewrite of :data:`compress.lint.REWRITES` that does it; empty where the user has to.
    """

    rule: str
    severity: Severity
    node: str
    message: str
    fix: str
    source: str = ""
    rewrite: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)

    def __str__(self) -> str:
        where = f" at {self.node}" if self.node else ""
        done = f" [--fix: {self.rewrite}]" if self.rewrite else ""
        source = f" ({self.source})" if self.source else ""
        return f"{self.severity} {self.rule}{where}: {self.message}; {self.fix}{done}{source}"


class Subject:
    """A graph under inspection, with the views that rules need.

    Args:
        model: Model without local functions that onnx's checker accepts; it is not changed.
        target: Target that will run it.

    Attributes:
        graph: Index of the makers and readers of each tensor.
        typed: Model with inferred element types and ranks, without the values of large weights.
        target: Target that will run it.
    """

    def __init__(self, model: onnx.ModelProto, target: Target) -> None:
        self.graph = Graph(model)
        self.typed = Graph(with_types(model))
        self.target = target

    @cached_property
    def constants(self) -> frozenset[str]:
        """Return the names of the tensors that depend on no input."""
        constant_names = set(self.graph.initializers)
        for node in self.graph.nodes:
            read = list(tensors_read(node))
            if node.op_type == "Constant" or (read and constant_names.issuperset(read)):
                constant_names.update(node.output)
        return frozenset(constant_names)

    def value(self, name: str) -> NDArray[Any] | None:
        """Return the value of an initializer or of a ``Constant`` node; None for computed tensors."""
        producer = self.graph.producers.get(name)
        if producer is not None and producer.op_type == "Constant":
            tensor = attribute(producer, "value")
            return None if tensor is None else onnx.numpy_helper.to_array(tensor)
        return self.graph.constant(name)


def every_node(subject: Subject) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of the graph, each followed by those inside its branches or loop body."""

    def inside(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        for node in nodes:
            yield node
            for body in subgraphs(node):
                yield from inside(body.node)

    return inside(subject.graph.nodes)


def name_of(node: onnx.NodeProto) -> str:
    """Return the name by which a finding refers to a node."""
    return str(node.name or next((name for name in node.output if name), node.op_type))
