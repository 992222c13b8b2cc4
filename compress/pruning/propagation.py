"""Labels for every axis of every tensor of a graph, from one pass over its operators.

Every operator has a rule that says how the axes of its result follow from those of its operands (see
:mod:`compress.pruning.rules`). An operator without a rule fixes every axis it touches, and leaves a note.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from compress.network.lifting.calls import bind, place
from compress.pruning.atoms import Labels, fixed
from compress.pruning.axes import Propagation
from compress.pruning.rules import LAYER_RULES, rule_for


def propagate(graph: fx.GraphModule, example: Sequence[torch.Tensor]) -> Propagation:
    """Find the labels of every axis of a lifted graph.

    Args:
        graph: A lifted graph.
        example: One batch for every input; two rows suffice.
    """
    found = Propagation(graph)
    found.shapes = _Shapes(graph).record(example)
    for node in graph.graph.nodes:
        if node.op != "output":
            found.values[node] = _labels(found, node)
            _hold_outputs(found, node)
    return found


def _hold_outputs(found: Propagation, node: fx.Node) -> None:
    if any(use.op == "output" for use in node.users):
        found.fix_all(_leaves(found.values[node]))


def _labels(found: Propagation, node: fx.Node) -> Any:
    if node.op == "get_attr":
        return found.tensor(str(node.target))
    if node.op == "call_module":
        module = found.graph.get_submodule(str(node.target))
        layer_rule = LAYER_RULES.get(type(module))
        return layer_rule(found, node, module) if layer_rule else _unknown(found, node)
    if node.op == "call_function":
        return _call(found, node)
    return _fixed_like(found.shapes[node])


def _call(found: Propagation, node: fx.Node) -> Any:
    if node.target is operator.getitem:
        return found.values[node.args[0]][node.args[1]]  # type: ignore[index]
    if not isinstance(node.target, OpOverload):  # arithmetic on sizes
        return None
    rule = rule_for(node.target)
    return rule(found, node, bind(node)) if rule else _unknown(found, node)


def _unknown(found: Propagation, node: fx.Node) -> Any:
    """Keep everything that an unknown operator touches, which is always sound."""
    for operand in node.all_input_nodes:
        found.fix_all(_leaves(found.values[operand]))
    name = str(node.target)
    if node.op == "call_module":
        module = found.graph.get_submodule(str(node.target))
        name = f"{type(module).__name__} '{node.target}'"
        for each in module.state_dict():
            found.fix_all(found.tensor(f"{node.target}.{each}"))
    found.notes.append(f"{name}{place(node)} keeps what it touches from being pruned")
    return _fixed_like(found.shapes[node])


def _fixed_like(shapes: Any) -> Any:
    if isinstance(shapes, torch.Size):
        return [fixed(size) for size in shapes]
    if isinstance(shapes, list | tuple):
        return [_fixed_like(each) for each in shapes]
    return None


def _leaves(value: Any) -> list[Labels]:
    """Yield every axis of a result, however it is nested."""
    return [leaf for leaf in pytree.tree_leaves(value) if leaf is not None]


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps the shapes of its results."""

    def record(self, example: Sequence[torch.Tensor]) -> dict[fx.Node, Any]:
        self.shapes: dict[fx.Node, Any] = {}
        with torch.no_grad():
            self.run(*(tensor.clone() for tensor in example))
        return self.shapes

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.shapes[n] = _shapes_of(result)
        return result


def _shapes_of(result: Any) -> Any:
    if isinstance(result, torch.Tensor):
        return result.shape
    if isinstance(result, list | tuple):
        return [_shapes_of(each) for each in result]
    return None
