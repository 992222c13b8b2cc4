"""The time of a call by operator, and how close each operator comes to its roofline.

The roof of an operator is the longer of its arithmetic at the processor's peak and its bytes at the memory's bandwidth
(Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009), for as many cores as the session has threads.
Its share is that time over the measured one. Peaks of a processor are derived and its bandwidth is assumed
(:mod:`compress.machine.figures`), so the share is an estimate, while the time is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compress.profiling.roofline import peak
from compress.records.layer_time import LayerTime

if TYPE_CHECKING:
    from compress.backends.base import OperatorTime, OperatorTimes
    from compress.target.target import Target

#: The name of what is spent between operators, where it is shown among them.
UNACCOUNTED = "between operators"


def measured_layers(times: OperatorTimes, target: Target, threads: int | None) -> tuple[LayerTime, ...]:
    """Return the layers of a measured build for :attr:`compress.records.profile.Profile.layers`.

    Args:
        times: Operator times by the runtime's profiler.
        target: Target, whose peak rates and bandwidth are the roof.
        threads: Number of threads of the session; None where it is unknown, then all cores count.
    """
    cores = target.cores or 1
    part = min(threads or cores, cores) / cores
    return tuple(_layer_time(time, times.call_ms, target, part) for time in times.operators)


@dataclass(frozen=True)
class OperatorShare:
    """All operators of one type.

    Attributes:
        operator: Type of the operators, or :data:`UNACCOUNTED`.
        count: Number of operators of that type.
        share: Share of the time of the whole call, in [0, 1].
    """

    operator: str
    count: int
    share: float


def by_operator(layers: Iterable[LayerTime]) -> list[OperatorShare]:
    """Group measured layers by type of operator, the longest first and time between operators last."""
    counts: dict[str, int] = {}
    shares: dict[str, float] = {}
    for layer in layers:
        counts[layer.operator] = counts.get(layer.operator, 0) + 1
        shares[layer.operator] = shares.get(layer.operator, 0.0) + (layer.share or 0.0)
    operator_shares = [OperatorShare(operator, counts[operator], share) for operator, share in shares.items()]
    operator_shares.sort(key=lambda entry: -entry.share)
    return [*operator_shares, OperatorShare(UNACCOUNTED, 0, max(0.0, 1 - sum(shares.values())))]


def _layer_time(time: OperatorTime, call_ms: float, target: Target, part: float) -> LayerTime:
    layer = LayerTime(
        name=time.name,
        operator=time.operator,
        ms=time.ms,
        source="measured",
        precision=time.precision,
        kind=time.kind,
        outputs=time.outputs,
        bytes=time.bytes,
        share=time.ms / call_ms if call_ms else 0.0,
    )
    if time.macs is None or target.bandwidth_gb_s <= 0:
        return layer
    _, tera_per_second = peak(time.precision, target)
    compute_ms = 2 * time.macs / (tera_per_second * part) / 1e9
    memory_ms = time.bytes / (target.bandwidth_gb_s * part) / 1e6
    roof_ms = max(compute_ms, memory_ms)
    return replace(
        layer,
        macs=time.macs,
        bound="compute" if compute_ms > memory_ms else "memory",
        # What runs faster than its roof ran from a cache, or below an estimate that is too low: no share of it is told.
        roofline_share=roof_ms / time.ms if 0 < roof_ms <= time.ms else None,
    )
