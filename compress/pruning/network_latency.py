"""A whole network's latency, predicted from its layers' as units are removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError
from compress.pruning.groups import Channels
from compress.pruning.latency_table import Bench, LatencyTable, Wanted, measure_table
from compress.pruning.probes import Shape
from compress.pruning.timed_layers import CountedOperator, Kept, TimedLayer, timed_layers

if TYPE_CHECKING:
    import onnx

Operator = TimedLayer | CountedOperator


@dataclass(frozen=True)
class NetworkLatency:
    """Latency as a sum over layers, scaled so that at full width it is the network's own latency.

    A layer without an entry in the table, and an operator that no table has (products of activations, grouped
    convolutions), counts by its multiply-accumulates, each as long as the table's take on the average. Everything
    else (additions, norms, pooling, what is between operators) is taken to shrink as the sum does.

    Attributes:
        whole_ms: Latency of the unpruned network, in milliseconds, in the table's precision.
        table: Latencies of the layers at each width.
        operators: All operators that multiply.
    """

    whole_ms: float
    table: LatencyTable
    operators: tuple[Operator, ...]

    def share(self, kept: Kept, operators: Iterable[Operator] | None = None) -> float:
        """Return the latency after units are removed, as a share of the unpruned network's.

        Args:
            kept: Share of its units that each group keeps, by the group's name.
            operators: Operators to count; None counts all.
        """
        counted = self.operators if operators is None else operators
        return sum(self._cost(operator, kept) for operator in counted) / self._total

    def _cost(self, operator: Operator, kept: Kept) -> float:
        if isinstance(operator, TimedLayer):
            found = self.table.staircases.get(operator.shape)
            if found is not None:
                key = operator.shape, *operator.widths(kept)
                if key not in self._looked_up:
                    self._looked_up[key] = found.ms(*key[1:])
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
            (self.table.staircases[each.shape].full_ms, each.macs({}))
            for each in self.operators
            if isinstance(each, TimedLayer) and each.shape in self.table.staircases
        ]
        return sum(ms for ms, _ in timed) / sum(macs for _, macs in timed) if timed else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        timed = [each for each in self.operators if isinstance(each, TimedLayer)]
        missing = [each.name for each in timed if each.shape not in self.table.staircases]
        return {
            "whole_ms": self.whole_ms,
            "table": self.table.to_dict(),
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
    total = sum(each.macs({}) for each in operators)
    if not total:
        raise RecipeError(
            "a network that multiplies, to tell by its layers how its latency shrinks",
            "one without convolutions and matrix products",
            "say by --ratio how much goes",
        )
    whole_ms = bench.whole_ms(model)
    wanted: dict[Any, Wanted] = {}
    for each in operators:
        if isinstance(each, TimedLayer) and (each.inputs.groups or each.outputs.groups):
            known = wanted.get(each.shape, Wanted(each.shape, 0.0, reads=False, writes=False))
            wanted[each.shape] = Wanted(
                each.shape,
                max(known.share, each.macs({}) / total),
                known.reads or bool(each.inputs.groups),
                known.writes or bool(each.outputs.groups),
            )
    return NetworkLatency(whole_ms, measure_table(wanted.values(), bench, whole_ms), operators)
