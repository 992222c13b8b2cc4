"""The time of a call by operator, and how close each operator comes to its roofline.

The roof of an operator is the longer of its arithmetic at the processor's peak and its bytes at the memory's bandwidth
(Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009), for as many cores as the session has threads.
Its share is that time over the measured one. Peaks of a processor are derived and its bandwidth is assumed
(:mod:`compress.machine.figures`), so the share is an estimate, while the time is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.profiling.roofline import peak

if TYPE_CHECKING:
    from compress.backends.base import OperatorTime, OperatorTimes
    from compress.target.target import Target

#: The name of what is spent between operators, where it is shown among them.
UNACCOUNTED = "between operators"


def measured_layers(times: OperatorTimes, target: Target, threads: int | None) -> tuple[dict[str, Any], ...]:
    """Return the layers of a measured build for :attr:`compress.records.profile.Profile.layers`.

    Args:
        times: Operator times by the runtime's profiler.
        target: Target, whose peak rates and bandwidth are the roof.
        threads: Number of threads of the session; None where it is unknown, then all cores count.
    """
    cores = target.cores or 1
    part = min(threads or cores, cores) / cores
    return tuple(_layer(each, times.call_ms, target, part) for each in times.operators)


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


def by_operator(layers: Iterable[Mapping[str, Any]]) -> list[OperatorShare]:
    """Group measured layers by type of operator, the longest first and time between operators last."""
    counts: dict[str, int] = {}
    shares: dict[str, float] = {}
    for layer in layers:
        operator = str(layer["operator"])
        counts[operator] = counts.get(operator, 0) + 1
        shares[operator] = shares.get(operator, 0.0) + float(layer["share"])
    found = [OperatorShare(operator, counts[operator], share) for operator, share in shares.items()]
    found.sort(key=lambda entry: -entry.share)
    return [*found, OperatorShare(UNACCOUNTED, 0, max(0.0, 1 - sum(shares.values())))]


def _layer(each: OperatorTime, call_ms: float, target: Target, part: float) -> dict[str, Any]:
    layer: dict[str, Any] = {
        "name": each.name,
        "operator": each.operator,
        "kind": each.kind,
        "outputs": [list(shape) for shape in each.outputs],
        "precision": each.precision,
        "bytes": each.bytes,
        "ms": each.ms,
        "share": each.ms / call_ms if call_ms else 0.0,
        "source": "measured",
    }
    if each.macs is None or target.bandwidth_gb_s <= 0:
        return layer
    _, tera_per_second = peak(each.precision, target)
    compute_ms = 2 * each.macs / (tera_per_second * part) / 1e9
    memory_ms = each.bytes / (target.bandwidth_gb_s * part) / 1e6
    roof_ms = max(compute_ms, memory_ms)
    layer["macs"] = each.macs
    layer["bound"] = "compute" if compute_ms > memory_ms else "memory"
    # What runs faster than its roof ran from a cache, or below an estimate that is too low: no share of it is told.
    layer["roofline_share"] = roof_ms / each.ms if 0 < roof_ms <= each.ms else None
    return layer
