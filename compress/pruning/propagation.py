"""Labels for every axis of every tensor of a graph, from one pass over its operators.

Every operator has a rule that says how the axes of its result follow from those of its operands (see
:mod:`compress.pruning.rules`). An operator without a rule fixes every axis it touches, and leaves a note.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from compress.core.moved import names_of
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
    propagation = Propagation(graph)
    propagation.shapes = _Shapes(graph).record(example)
    for node in graph.graph.nodes:
        if node.op != "output":
            propagation.values[node] = _labels(propagation, node)
            _hold_outputs(propagation, node)
    return propagation


def _hold_outputs(propagation: Propagation, node: fx.Node) -> None:
    if any(use.op == "output" for use in node.users):
        propagation.fix_all(_leaves(propagation.values[node]))


def _labels(propagation: Propagation, node: fx.Node) -> Any:
    if node.op == "get_attr":
        return propagation.tensor(str(node.target))
    if node.op == "call_module":
        module = propagation.graph.get_submodule(str(node.target))
        layer_rule = LAYER_RULES.get(type(module))
        return layer_rule(propagation, node, module) if layer_rule else _unknown(propagation, node)
    if node.op == "call_function":
        return _call(propagation, node)
    return _fixed_like(propagation.shapes[node])


def _call(propagation: Propagation, node: fx.Node) -> Any:
    if node.target is operator.getitem:
        return propagation.values[node.args[0]][node.args[1]]  # type: ignore[index]
    if not isinstance(node.target, OpOverload):  # arithmetic on sizes
        return None
    rule = rule_for(node.target)
    return rule(propagation, node, bind(node)) if rule else _unknown(propagation, node)


def _unknown(propagation: Propagation, node: fx.Node) -> Any:
    """Keep everything that an unknown operator touches, which is always sound."""
    for operand in node.all_input_nodes:
        propagation.fix_all(_leaves(propagation.values[operand]))
    name = str(node.target)
    if node.op == "call_module":
        module = propagation.graph.get_submodule(str(node.target))
        name = f"{type(module).__name__} '{node.target}'"
        for key in module.state_dict():
            propagation.fix_all(propagation.tensor(f"{node.target}.{key}"))
    propagation.notes.append(f"{name}{place(node)} keeps what it touches from being pruned")
    return _fixed_like(propagation.shapes[node])


def _fixed_like(shapes: Any) -> Any:
    if isinstance(shapes, torch.Size):
        return [fixed(size) for size in shapes]
    if isinstance(shapes, list | tuple):
        return [_fixed_like(shape) for shape in shapes]
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
        return [_shapes_of(item) for item in result]
    return None


if not TYPE_CHECKING:  # names that have left; no type checker shall take any name for one
    __getattr__ = names_of(__name__, __name__)
