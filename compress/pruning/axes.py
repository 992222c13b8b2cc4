"""Findings of a pass over a graph's operators about the axes of its tensors, as the operators' rules state them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

from compress.network.lifting.calls import place
from compress.pruning.atoms import Atoms, Labels

#: The labels of every axis of one tensor.
Axes = list[Labels]


@dataclass(frozen=True)
class Reading:
    """An operand's axis over which an operator sums or takes statistics.

    Attributes:
        operand: The node that is read.
        axis: Number of the axis, ≥ 0.
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
    """Findings of a pass over a graph.

    Attributes:
        graph: The graph; it is only read.
        atoms: Atoms, which can be removed.
        shapes: Shapes of every node's result on the example, nested as the result is.
        values: Labels of every node's result, nested as the result is.
        tensors: Labels of the axes of each parameter or buffer, by each of its names.
        readings: Axes that each node sums over or takes statistics of.
        work: Multiply-accumulates of each node.
        grids: Labels of the groups of each node with a number of groups.
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
        """Return the labels of a parameter or buffer; its axes are free until an equation says otherwise."""
        tensor = self._named[name]
        if id(tensor) not in self._axes_of:
            self._axes_of[id(tensor)] = [self.atoms.fresh(size) for size in tensor.shape]
        self.tensors[name] = self._axes_of[id(tensor)]
        return self.tensors[name]

    def axes(self, value: Any) -> Axes:
        """Return the labels of a node's result."""
        labels: Axes = self.values[value]
        return labels

    def shape(self, value: fx.Node) -> tuple[int, ...]:
        """Return the shape of a node's result."""
        return tuple(self.shapes[value])

    def unify_all(self, one: Sequence[Labels], other: Sequence[Labels]) -> None:
        """State that two tensors lose the same indices, axis by axis."""
        for labels, right in zip(one, other, strict=True):
            self.atoms.unify(labels, right)

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
