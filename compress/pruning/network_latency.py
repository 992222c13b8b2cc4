"""A whole network's latency, predicted from its layers' as units are removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError
from compress.pruning.groups import Channels
from compress.pruning.latency_table import Bench, LatencyTable, Wanted, measure_table
from compress.pruning.probes import Shape
from compress.pruning.timed_layers import CountedOperator, Kept, TimedLayer, timed_layers
from compress.records.technique_reports import NetworkTimes

if TYPE_CHECKING:
    import onnx

Operator = TimedLayer | CountedOperator

#: Least share of the latency, and of what is saved: both are above 0.
_LEAST = 0.01


@dataclass(frozen=True)
class NetworkLatency:
    """Latency as a sum over layers, scaled so that at full width it is the network's own latency.

    share = 1 − slope · (1 − sum of what layers take / what they take at full width)

    A layer that is timed alone costs something at any width, which a whole call may not pay for each of its layers; and
    a whole call costs something that no layer does. Whole calls at other widths tell the slope.

    A layer without an entry in the table, and an operator that no table has (products of activations, grouped
    convolutions), counts by its multiply-accumulates, each as long as the table's take on the average. Everything
    else (additions, norms, pooling, what is between operators) is taken to shrink as the sum does.

    Attributes:
        whole_ms: Latency of the unpruned network, in milliseconds, in the table's precision.
        table: Latencies of the layers at each width.
        operators: All operators that multiply.
        slope: Share of its time that a whole call saves, over the share that its layers save; 1 before whole calls are
            timed at other widths.
    """

    whole_ms: float
    table: LatencyTable
    operators: tuple[Operator, ...]
    slope: float = 1.0

    def share(self, kept: Kept, operators: Iterable[Operator] | None = None) -> float:
        """Return the latency after units are removed, as a share of the unpruned network's.

        Args:
            kept: Share of its units that each group keeps, by the group's name.
            operators: Operators to count; None counts all, and what belongs to no layer.
        """
        counted = self.operators if operators is None else operators
        layers = self.slope * sum(self._cost(operator, kept) for operator in counted) / self._total
        return layers if operators is not None else max(_LEAST, 1 - self.slope + layers)

    def calibrated(self, predicted: float, measured: float) -> NetworkLatency:
        """Return the latency with the slope that makes a prediction right.

        Args:
            predicted: Share of the latency, below 1, that :meth:`share` returns for some widths.
            measured: Share that a whole call takes there.
        """
        saved = max(1 - measured, _LEAST)
        return replace(self, slope=self.slope * saved / (1 - predicted))

    def _cost(self, operator: Operator, kept: Kept) -> float:
        if isinstance(operator, TimedLayer):
            staircase = self.table.staircases.get(operator.shape)
            if staircase is not None:
                key = operator.shape, *operator.widths(kept)
                if key not in self._looked_up:
                    self._looked_up[key] = staircase.ms(*key[1:])
                return self._looked_up[key]
        return self._ms_per_mac * operator.macs(kept)

    @cached_property
    def _looked_up(self) -> dict[tuple[Shape, int, int], float]:
        return {}

    @cached_property
    def _total(self) -> float:
        return sum(self._cost(operator, {}) for operator in self.operators)

    @cached_property
    def _ms_per_mac(self) -> float:
        timed = [
            (self.table.staircases[operator.shape].full_ms, operator.macs({}))
            for operator in self.operators
            if isinstance(operator, TimedLayer) and operator.shape in self.table.staircases
        ]
        return sum(ms for ms, _ in timed) / sum(macs for _, macs in timed) if timed else 1.0

    def to_dict(self) -> NetworkTimes:
        """Return a dict that JSON can hold."""
        timed = [operator for operator in self.operators if isinstance(operator, TimedLayer)]
        missing = [layer.name for layer in timed if layer.shape not in self.table.staircases]
        return {
            "whole_ms": self.whole_ms,
            "table": self.table.to_dict(),
            "slope": self.slope,
            "layers": len(timed),
            "counted_by_macs": len(self.operators) - len(timed) + len(missing),
        }


def network_latency(channels: Channels, model: onnx.ModelProto, bench: Bench) -> NetworkLatency:
    """Time a network and its layers.

    Args:
        channels: Units that can be removed from it.
        model: The same network as ONNX, in fp32.
        bench: Place and settings for timing.

    Raises:
        RecipeError: No operator in it multiplies, so that a smaller latency cannot be predicted.
        CompressError: The back end does not run the network, or it cannot be quantized.
    """
    operators = timed_layers(channels)
    total = sum(operator.macs({}) for operator in operators)
    if not total:
        raise RecipeError(
            "a network that multiplies, to tell by its layers how its latency shrinks",
            "one without convolutions and matrix products",
            "say by --ratio how much goes",
        )
    whole_ms = bench.whole_ms(model)
    requests: dict[Any, Wanted] = {}
    for operator in operators:
        if isinstance(operator, TimedLayer) and (operator.inputs.groups or operator.outputs.groups):
            earlier = requests.get(operator.shape, Wanted(operator.shape, 0.0, reads=False, writes=False))
            requests[operator.shape] = Wanted(
                operator.shape,
                max(earlier.share, operator.macs({}) / total),
                earlier.reads or bool(operator.inputs.groups),
                earlier.writes or bool(operator.outputs.groups),
            )
    return NetworkLatency(whole_ms, measure_table(requests.values(), bench, whole_ms), operators)
