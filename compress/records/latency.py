"""The time of a call, as a profile holds it, and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Source = Literal["measured", "estimated"]


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end, in the unit of the figure it belongs to.
        high: Upper end, in the same unit.
        level: Confidence level in (0, 1); a one-sided test at 5 % uses 0.9, two-sided.
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class WarmUp:
    """Calls that were made and dropped before the timed ones.

    Attributes:
        calls: Number of calls.
        seconds: Wall time of these calls, in seconds.
        steady: Whether they reached a steady state; see :mod:`compress.profiling.steady_state`.
    """

    calls: int
    seconds: float
    steady: bool


@dataclass(frozen=True)
class Latency:
    """Time of one call at one batch size, as the caller sees it: host to host, copies included.

    Attributes:
        source: Origin of the figures: "measured" on the machine of the fingerprint, or "estimated" by a roofline.
        batch: Number of samples in one call.
        p50_ms: Median in milliseconds.
        p90_ms: 90th percentile in milliseconds; None where it was not measured, or on too few calls.
        p99_ms: 99th percentile in milliseconds; None where it was not measured, or on too few calls.
        interval: Confidence interval of the median, in milliseconds.
        throughput_per_s: Samples per second of back-to-back calls.
        iterations: Number of timed calls after warm-up; 0 for an estimate.
        ratio: This build's time over that of fp32 at this batch size, as fast as fp32 was found to be there, both in
            turns in processes of their own (:mod:`compress.timing`); the quotient of the two estimates for
            estimated figures. None where it was compared with nothing.
        ratio_interval: Confidence interval of ``ratio``, over starts of both (:mod:`compress.statistics.ratios`).
        p90_interval: Confidence interval of ``p90_ms``, in milliseconds, from order statistics. None where there is no
            p90.
        p99_interval: Confidence interval of ``p99_ms``, in milliseconds, from order statistics. None where there is no
            p99.
        warm_up: Calls that were dropped; None for estimates and where they were not recorded.
        drift: Relative change of the median from the first half of the calls to the second, where the two disagree
            (:mod:`compress.profiling.noise`); None where they agree.
        starts: Number of starts of the build in a process of its own; 0 for estimates and where it was not recorded.
        shapes: Shape of each input in the timed calls, by its name; empty where it was not recorded.
        period_ms: Milliseconds from the beginning of one call to that of the next, for paced calls (a camera's); None
            for calls back to back.
        reference_ms: Median time of the fp32 that ``ratio`` refers to, in the same turns, in milliseconds.
        reference_options: Session options of that fp32; None where there is no ratio.
        settings_cost: Time with the build's session options over its time with the fastest ones at this batch size, ≥
            1; None where no others were tried.
    """

    source: Source
    batch: int
    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    interval: Interval
    throughput_per_s: float
    iterations: int
    ratio: float | None = None
    ratio_interval: Interval | None = None
    p90_interval: Interval | None = None
    p99_interval: Interval | None = None
    warm_up: WarmUp | None = None
    drift: float | None = None
    starts: int = 0
    shapes: dict[str, list[int]] = field(default_factory=dict)
    period_ms: float | None = None
    reference_ms: float | None = None
    reference_options: dict[str, Any] | None = None
    settings_cost: float | None = None


def latency_of(data: dict[str, Any]) -> Latency:
    """Read a latency of a profile's JSON."""
    intervals = ("ratio_interval", "p90_interval", "p99_interval")
    return Latency(
        **{
            **data,
            "interval": interval_of(data["interval"]),
            **{name: interval_or_none(data.get(name)) for name in intervals},
            "warm_up": warm_up_of(data.get("warm_up")),
        }
    )


def interval_of(data: dict[str, Any]) -> Interval:
    """Read the ends of an interval; null stands for infinity, which JSON lacks."""
    low = -math.inf if data["low"] is None else data["low"]
    high = math.inf if data["high"] is None else data["high"]
    return Interval(**{**data, "low": low, "high": high})


def warm_up_of(data: dict[str, Any] | None) -> WarmUp | None:
    """Read a warm-up; None stays None."""
    return None if data is None else WarmUp(**data)


def interval_or_none(data: dict[str, Any] | None) -> Interval | None:
    """Read the ends of an interval; None stays None."""
    return None if data is None else interval_of(data)
