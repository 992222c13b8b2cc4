"""Which layers int8 hurts, and the cheapest set of them to leave in float.

Every layer is quantized alone, all others in float, and what that does to the network's outputs is its error. One
calibration serves all trials, so this takes one short run of the network a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from compress.onnx_graph.operators import macs
from compress.onnx_graph.shapes import shaped
from compress.quantization.calibration import calibrate
from compress.quantization.grid import Range
from compress.quantization.insertion import insert
from compress.quantization.observers import new_observer
from compress.quantization.placement import Placement, place
from compress.quantization.probe import Batch, OutputError
from compress.quantization.settings import Settings
from compress.target import QuantizationFlavour


@dataclass(frozen=True)
class Sensitivity:
    """What int8 costs one layer and what it saves.

    Attributes:
        layer: The weighted node's name.
        operator: Its type.
        error: Squared error of the network's outputs with this layer alone in int8, over their squared deviation
            from the mean; from 0.
        cost: Its share of the network's time in float, from 0 to 1: measured where times are given, otherwise its
            share of the multiply-accumulates.
    """

    layer: str
    operator: str
    error: float
    cost: float


class Trials:
    """Quantizes one network again and again, with other layers left in float.

    Args:
        model: Prepared, float.
        batches: Samples; they are calibrated on and compared on.
        flavour: How Q/DQ look.
        settings: What is quantized where nothing else is said.
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
        self.layers = tuple(weighted.node for weighted in place(model, flavour, settings).weighted)
        self._ranges: dict[str, Range] = {}

    def quantized(self, in_float: Iterable[str]) -> onnx.ModelProto:
        """The network in int8, except for these layers."""
        placement = self._placement(in_float)
        self._calibrate([placement])
        return insert(self.model, placement, self._ranges, self.flavour)

    def sensitivities(self, seconds: Mapping[str, float] | None = None) -> tuple[Sensitivity, ...]:
        """Every layer's, in topological order.

        Args:
            seconds: Measured time of each layer in float, where it is known.
        """
        alone = {layer: [other for other in self.layers if other != layer] for layer in self.layers}
        self._calibrate([self._placement(others) for others in alone.values()])
        outputs = OutputError(self.model, self.batches)
        operators = {node.name: node.op_type for node in self.model.graph.node}
        costs = self._costs() if seconds is None else seconds
        total = sum(costs.values()) or 1.0
        return tuple(
            Sensitivity(
                layer, operators[layer], outputs.of(self.quantized(others)), costs.get(layer, 0.0) / total
            )
            for layer, others in alone.items()
        )

    def _placement(self, in_float: Iterable[str]) -> Placement:
        excluded = tuple(dict.fromkeys((*self.settings.exclude_nodes, *in_float)))
        return place(self.model, self.flavour, replace(self.settings, exclude_nodes=excluded))

    def _calibrate(self, placements: Iterable[Placement]) -> None:
        wanted = {
            name
            for placement in placements
            for name in placement.activations
            if placement.same_scale_as[name] == name
        }
        missing = sorted(wanted - self._ranges.keys())
        if missing:
            found = calibrate(
                self.model, missing, self.batches, lambda: new_observer(self.settings, self.flavour)
            )
            self._ranges.update(found.ranges)

    def _costs(self) -> dict[str, float]:
        sizes = {name: values.shape for name, values in self.batches[0].items()}
        graph = shaped(self.model, len(next(iter(self.batches[0].values()))), sizes)
        return {
            node.name: float(macs(node, graph.shapes.get) or 0)
            for node in graph.nodes
            if node.name in self.layers
        }


def cheapest_in_float(
    sensitivities: Sequence[Sensitivity], keeps_accuracy: Callable[[tuple[str, ...]], bool]
) -> tuple[str, ...] | None:
    """The cheapest layers to leave in float so that the rest keeps the accuracy.

    Layers are added in two orders, by error and by error for each unit of cost, and the fewest of each that suffice
    are found by bisection; of the two sets, the one that costs less.

    Args:
        sensitivities: Of every layer.
        keeps_accuracy: Whether the network does with these layers in float.

    Returns:
        Names, none where nothing needs to stay in float; None where even all but one are too few.
    """
    by_error = sorted(sensitivities, key=lambda each: -each.error)
    by_worth = sorted(sensitivities, key=lambda each: -each.error / max(each.cost, 1e-6))
    if keeps_accuracy(()):
        return ()
    found = []
    for order in (by_error, by_worth):
        fewest = _fewest([each.layer for each in order], keeps_accuracy)
        if fewest is not None:
            found.append((sum(each.cost for each in order[:fewest]), [each.layer for each in order[:fewest]]))
    return tuple(min(found)[1]) if found else None


def _fewest(order: Sequence[str], keeps_accuracy: Callable[[tuple[str, ...]], bool]) -> int | None:
    """How many of the first layers must stay in float, given that none is too few; at most all but one."""
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
