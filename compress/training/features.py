"""Inner activations by which a student can be taught: those that have its teacher's shape.

Romero et al. 2015 (FitNets, arXiv 1412.6550) let a student match a hint layer of its teacher. A pruned graph keeps its
node names, so a hint needs no regressor where the shapes are still equal.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from compress.network.lifting.device import LiftedGraph
from compress.network.lifting.graph import results_of


def shared_features(student: fx.GraphModule, teacher: fx.GraphModule, batch: Sequence[Tensor]) -> list[str]:
    """Return the names of the nodes that both graphs have, with float activations of equal shape.

    Among nodes of equal shape the last is taken: the end of a stage. Inputs and outputs do not count.

    Args:
        student: Graph that was made from the teacher's.
        teacher: Graph that it was made from.
        batch: One batch of every input, ≥ 2 rows where the batch is dynamic.
    """
    shapes = _shapes(student, batch), _shapes(teacher, batch)
    outputs = {node.name for graph in (student, teacher) for node in results_of(graph.graph.output_node())}
    last = {
        shape: name
        for name, shape in shapes[0].items()
        if shapes[1].get(name) == shape and name not in outputs
    }
    return list(last.values())


def with_features(graph: fx.GraphModule, names: Sequence[str]) -> fx.GraphModule:
    """Return the graph with these nodes added to its outputs; it shares the modules, so training it trains both."""
    copied: dict[fx.Node, fx.Node] = {}
    tapped = fx.Graph()
    returned = tapped.graph_copy(graph.graph, copied)
    outputs = returned if isinstance(returned, list | tuple) else (returned,)
    by_name = {node.name: copy for node, copy in copied.items()}
    tapped.output((*outputs, *(by_name[name] for name in names)))
    return LiftedGraph(graph, tapped)


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of every float activation."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        computed = n.op in ("call_module", "call_function", "call_method")
        if computed and isinstance(result, Tensor) and result.is_floating_point() and result.dim() > 1:
            self.found[n.name] = tuple(result.shape)
        return result


def _shapes(graph: fx.GraphModule, batch: Sequence[Tensor]) -> dict[str, tuple[int, ...]]:
    shapes = _Shapes(copy.deepcopy(graph).eval())
    with torch.no_grad():
        shapes.run(*(tensor.clone() for tensor in batch))
    return shapes.found
