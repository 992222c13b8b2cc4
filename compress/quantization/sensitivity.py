"""Sensitivity of layers to int8, and the cheapest set of layers to leave in float.

Layers are quantized alone, all others in float, and what that does to the network's outputs is their error. Where
there are many, neighbours are quantized together first, and the groups that hurt most are taken apart: so there are
never more than so many trials, and the whole takes time in proportion to the number of layers. The float network goes
along with the groups, so that a trial runs only what is behind its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import onnx

from compress.onnx_graph.graph import Graph
from compress.onnx_graph.operators import macs
from compress.onnx_graph.shapes import shaped
from compress.quantization.batches import Batch, first_of
from compress.quantization.calibration import calibrate
from compress.quantization.grid import Range
from compress.quantization.insertion import insert
from compress.quantization.observers import new_observer
from compress.quantization.placement import Placement, place
from compress.quantization.probe import OutputError, compared
from compress.quantization.settings import Settings
from compress.quantization.shelf import Shelf
from compress.quantization.walk import Walk
from compress.target.target import QuantizationFlavour

#: Layers up to which each is tried alone.
ALONE = 32

_GROUPS = 16  # that more layers are divided into at first
_ROUNDS, _TAKEN_APART = 3, 4  # afterwards, and groups that are halved in each

_TRIED_ON = 64  # samples


@dataclass(frozen=True)
class Sensitivity:
    """Error that int8 causes in one layer, and the time it saves.

    Attributes:
        layer: Name of the weighted node.
        operator: Type of the node.
        error: Squared error of the network's outputs with this layer alone in int8, over their squared deviation from
            the mean, ≥ 0. For layers that were tried together, an equal share of their common error.
        cost: Share of the network's time in float, from 0 to 1: measured where times are given, otherwise the share of
            the multiply-accumulates.
        together: Number of layers that were tried together with it, itself included.
    """

    layer: str
    operator: str
    error: float
    cost: float
    together: int = 1


class Trials:
    """Trials that quantize one network repeatedly, with other layers left in float.

    Args:
        model: Prepared float model.
        batches: Batches of samples for calibration; outputs are compared on the first of them.
        flavour: Form of Q/DQ.
        settings: Settings of the quantization.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        batches: Sequence[Batch],
        flavour: QuantizationFlavour,
        settings: Settings,
    ) -> None:
        self.model = model
        self.batches = batches
        self.flavour = flavour
        self.settings = settings
        self._whole = place(model, flavour, settings)
        self.layers = tuple(weighted.node for weighted in self._whole.weighted)
        self._ranges: dict[str, Range] = {}

    def quantized(self, in_float: Iterable[str]) -> onnx.ModelProto:
        """Return the network in int8, except for these layers."""
        placement = self._placement(in_float)
        self._calibrate(_scaled(placement))
        return insert(self.model, placement, self._ranges, self.flavour)

    def sensitivities(self, seconds: Mapping[str, float] | None = None) -> tuple[Sensitivity, ...]:
        """Return the sensitivity of every layer, in topological order.

        Args:
            seconds: Measured time of each layer in float, in seconds, by its name; None where unknown.
        """
        self._calibrate({*_scaled(self._whole), *(weighted.input for weighted in self._whole.weighted)})
        operators = {node.name: node.op_type for node in self.model.graph.node}
        costs = self._costs() if seconds is None else seconds
        total = sum(costs.values()) or 1.0
        error_and_size = {
            layer: (error / len(group), len(group))
            for group, error in self._group_errors().items()
            for layer in group
        }
        return tuple(
            Sensitivity(
                layer,
                operators[layer],
                error_and_size[layer][0],
                costs.get(layer, 0.0) / total,
                error_and_size[layer][1],
            )
            for layer in self.layers
        )

    def _group_errors(self) -> dict[tuple[str, ...], float]:
        """Return the error of each group of neighbouring layers alone in int8; every layer is in one group."""
        batches = first_of(self.batches, _TRIED_ON, Graph(self.model))
        outputs = OutputError(self.model, batches)
        count = len(self.layers) if len(self.layers) <= ALONE else _GROUPS
        errors = self._errors(_divided(self.layers, count), outputs, batches)
        for _ in range(_ROUNDS):
            several = [group for group in errors if len(group) > 1]
            worst = sorted(several, key=lambda group: -errors[group])[:_TAKEN_APART]
            halves = [half for group in worst for half in _divided(group, 2)]
            errors = {group: error for group, error in errors.items() if group not in worst}
            errors |= self._errors(
                sorted(halves, key=lambda half: self.layers.index(half[0])), outputs, batches
            )
        return errors

    def _errors(
        self, groups: Sequence[tuple[str, ...]], outputs: OutputError, batches: Sequence[Batch]
    ) -> dict[tuple[str, ...], float]:
        """Return the error of each of some groups alone in int8, in topological order."""
        reads = {weighted.node: weighted.input for weighted in self._whole.weighted}
        errors = {}
        with Shelf() as shelf:
            walk = Walk(self.model, batches, shelf)
            for group in groups:
                walk.to(reads[group[0]])
                trial = Graph(self.quantized(layer for layer in self.layers if layer not in group))
                parts = walk.rest(outputs.names, range(len(batches)), trial)
                errors[group] = outputs.of_parts(compared(values) for values in parts)
        return errors

    def _placement(self, in_float: Iterable[str]) -> Placement:
        excluded = tuple(dict.fromkeys((*self.settings.exclude_nodes, *in_float)))
        return place(self.model, self.flavour, replace(self.settings, exclude_nodes=excluded))

    def _calibrate(self, tensors: set[str]) -> None:
        missing = sorted(tensors - self._ranges.keys())
        if missing:
            calibration = calibrate(
                self.model, missing, self.batches, lambda: new_observer(self.settings, self.flavour)
            )
            self._ranges.update(calibration.ranges)

    def _costs(self) -> dict[str, float]:
        sizes = {name: values.shape for name, values in self.batches[0].items()}
        graph = shaped(self.model, len(next(iter(self.batches[0].values()))), sizes)
        return {
            node.name: float(macs(node, graph.shapes.get) or 0)
            for node in graph.nodes
            if node.name in self.layers
        }


def _scaled(placement: Placement) -> set[str]:
    """Return the activations that have a scale of their own."""
    return {name for name in placement.activations if placement.same_scale_as[name] == name}


def _divided(layers: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """Divide layers into so many groups of neighbours of nearly equal size."""
    edges = [len(layers) * part // count for part in range(count + 1)]
    return [tuple(layers[start:stop]) for start, stop in pairwise(edges)]


def orders(sensitivities: Sequence[Sensitivity]) -> tuple[list[Sensitivity], list[Sensitivity]]:
    """Return the two orders in which layers are left in float: by error, and by error for each unit of cost."""
    by_error = sorted(sensitivities, key=lambda sensitivity: -sensitivity.error)
    by_worth = sorted(sensitivities, key=lambda sensitivity: -sensitivity.error / max(sensitivity.cost, 1e-6))
    return by_error, by_worth


def cheapest_in_float(
    sensitivities: Sequence[Sensitivity], keeps_accuracy: Callable[[tuple[str, ...]], bool]
) -> tuple[str, ...] | None:
    """Return the cheapest layers to leave in float so that the rest keeps the accuracy.

    Layers are added in two orders, by error and by error for each unit of cost, and the fewest of each that suffice
    are found by bisection; of the two sets, the one that costs less.

    Args:
        sensitivities: Sensitivities of all layers.
        keeps_accuracy: Function that tells whether the network keeps its accuracy with these layers in float.

    Returns:
        Names of the layers, empty where none needs to stay in float; None where even all but one are too few.
    """
    if keeps_accuracy(()):
        return ()
    costs_and_layers = []
    for order in orders(sensitivities):
        fewest = _fewest([sensitivity.layer for sensitivity in order], keeps_accuracy)
        if fewest is not None:
            costs_and_layers.append(
                (
                    sum(sensitivity.cost for sensitivity in order[:fewest]),
                    [sensitivity.layer for sensitivity in order[:fewest]],
                )
            )
    return tuple(min(costs_and_layers)[1]) if costs_and_layers else None


def _fewest(order: Sequence[str], keeps_accuracy: Callable[[tuple[str, ...]], bool]) -> int | None:
    """Return how many of the first layers must stay in float, where none is too few; at most all but one."""
    enough, too_few = len(order) - 1, 0
    if enough < 1 or not keeps_accuracy(tuple(order[:enough])):
        return None
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if keeps_accuracy(tuple(order[:middle])):
            enough = middle
        else:
            too_few = middle
    return enough
