"""Labels for every axis of every tensor of a graph, from one pass over its operators.

Every operator has a rule that says how the axes of its result follow from those of its operands (see
:mod:`compress.pruning.rules`). An operator without a rule fixes every axis it touches, and leaves a note.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from compress.lift_calls import bind, place
from compress.pruning.atoms import Atoms, Labels, fixed

#: The labels of every axis of one tensor.
Axes = list[Labels]


@dataclass(frozen=True)
class Reading:
    """An operand's axis over which an operator sums or takes statistics.

    Attributes:
        operand: The node that is read.
        axis: Non-negative.
        skips: Whether removed indices are left out of a statistic (a mean, a norm), rather than summed as zeros.
    """

    operand: fx.Node
    axis: int
    skips: bool = False


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one node: one for every point of the space that these axes span."""

    node: fx.Node
    axes: tuple[Labels, ...]


@dataclass
class Propagation:
    """What a pass over a graph finds.

    Attributes:
        graph: The graph; it is only read.
        atoms: What can be removed.
        shapes: The shapes of every node's result on the example, nested as the result is.
        values: The labels of every node's result, nested as the result is.
        tensors: Parameter or buffer, by each of its names → the labels of its axes.
        readings: Node → the axes that it sums over or takes statistics of.
        work: Where the multiply-accumulates are.
        grids: Node with a number of groups → the labels of its groups.
        notes: Operators without a rule and their places.
    """

    graph: fx.GraphModule
    atoms: Atoms = field(default_factory=Atoms)
    shapes: dict[fx.Node, Any] = field(default_factory=dict)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    tensors: dict[str, Axes] = field(default_factory=dict)
    readings: dict[fx.Node, list[Reading]] = field(default_factory=dict)
    work: list[Work] = field(default_factory=list)
    grids: dict[fx.Node, Labels] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._named = {
            **dict(self.graph.named_parameters(remove_duplicate=False)),
            **dict(self.graph.named_buffers(remove_duplicate=False)),
        }
        self._axes_of: dict[int, Axes] = {}

    # --- what rules ask for ---------------------------------------------------------------------------------

    def tensor(self, name: str) -> Axes:
        """The labels of a parameter or buffer; its axes are free until an equation says otherwise."""
        tensor = self._named[name]
        if id(tensor) not in self._axes_of:
            self._axes_of[id(tensor)] = [self.atoms.fresh(size) for size in tensor.shape]
        self.tensors[name] = self._axes_of[id(tensor)]
        return self.tensors[name]

    def axes(self, value: Any) -> Axes:
        """The labels of a node's result."""
        found: Axes = self.values[value]
        return found

    def shape(self, value: fx.Node) -> tuple[int, ...]:
        """The shape of a node's result."""
        return tuple(self.shapes[value])

    def unify_all(self, one: Sequence[Labels], other: Sequence[Labels]) -> None:
        """State that two tensors lose the same indices, axis by axis."""
        for left, right in zip(one, other, strict=True):
            self.atoms.unify(left, right)

    def fix_all(self, axes: Iterable[Labels]) -> None:
        """State that these axes stay whole."""
        for labels in axes:
            self.atoms.fix(labels)

    def hold(self, node: fx.Node, axes: Sequence[Labels]) -> None:
        """State that these axes stay whole because of an operator; a note names it where something could have gone."""
        held = sum(int((self.atoms.resolve(labels) != 0).any(axis=1).sum()) for labels in axes)
        self.fix_all(axes)
        if held:
            self.notes.append(
                f"{node.target}{place(node)} keeps the {held} indices it runs over from being pruned"
            )

    def reads(self, node: fx.Node, operand: fx.Node, axis: int, *, skips: bool = False) -> None:
        """Note that a node sums, or takes statistics, over an axis of an operand."""
        self.readings.setdefault(node, []).append(
            Reading(operand, axis % len(self.axes(operand)), skips=skips)
        )

    def computes(self, node: fx.Node, *axes: Labels) -> None:
        """Note a node's multiply-accumulates: as many as the product of these axes' sizes."""
        self.work.append(Work(node, axes))


Rule = Callable[[Propagation, fx.Node, dict[str, Any]], Any]
LayerRule = Callable[[Propagation, fx.Node, nn.Module], Any]


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
        from compress.pruning.rules import LAYER_RULES

        module = found.graph.get_submodule(str(node.target))
        layer_rule = LAYER_RULES.get(type(module))
        return layer_rule(found, node, module) if layer_rule else _unknown(found, node)
    if node.op == "call_function":
        return _call(found, node)
    return _fixed_like(found.shapes[node])


def _call(found: Propagation, node: fx.Node) -> Any:
    from compress.pruning.rules import rule_for

    if node.target is operator.getitem:
        return found.values[node.args[0]][node.args[1]]  # type: ignore[index]
    if not isinstance(node.target, OpOverload):  # arithmetic on sizes
        return None
    rule = rule_for(node.target)
    return rule(found, node, bind(node)) if rule else _unknown(found, node)


def _unknown(found: Propagation, node: fx.Node) -> Any:
    """The sound answer for an operator of which nothing is known: everything it touches stays."""
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
    """Every axis of a result, however it is nested."""
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
