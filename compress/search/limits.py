"""The objective that a build minimises, the limits that it must meet, and by how much it misses them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from compress.records.profile import LEAST_SAMPLES, Interval, Latency, Profile, decidable, inside_margin
from compress.target.price import Price

#: Bytes of a MiB, the unit of a measured peak, over those of a MB, the unit of limits.
_MB_PER_MIB = 1.048576

Objective = Literal["latency", "throughput", "size", "energy", "cost"]

#: Objectives that are judged at the largest batch size: those of a server that is kept busy.
_AT_LARGEST = ("throughput", "cost")


@dataclass(frozen=True)
class Limits:
    """Limits that the user sets for the build, and the quantity to minimise inside them.

    Attributes:
        max_drop: Accuracy drop allowed, in points; the drop's upper 95 % bound must be at or below it.
        max_latency_ms: Median latency allowed at the first batch size, in milliseconds.
        max_size_mb: Size of the artifact allowed, in MB (10⁶ bytes).
        objective: Quantity to minimise: latency at the first batch size, and not to be slower at another; time per
            sample at the last ("throughput"), whatever a single sample takes; bytes ("size"); energy per sample at the
            first batch size; or money per million samples at the last ("cost").
        max_memory_mb: Peak memory allowed, as measured, in MB (10⁶ bytes).
        max_power_w: Power allowed while calls run back to back, as measured, in watts.
        price: Prices of the target, for the objective "cost"; None for others.
        front: Whether all builds of the Pareto front are wanted, and not the best one alone.
    """

    max_drop: float = 1.0
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    objective: Objective = "latency"
    max_memory_mb: float | None = None
    max_power_w: float | None = None
    price: Price | None = None
    front: bool = False

    @property
    def needs_energy(self) -> bool:
        """Whether the energy of calls has to be measured."""
        paid = self.objective == "cost" and self.price is not None and self.price.per_kwh is not None
        return self.objective == "energy" or paid or self.max_power_w is not None


@dataclass(frozen=True)
class Miss:
    """A limit that a build does not meet.

    Attributes:
        told: The figure that was found, and the limit, in a phrase.
        beyond: Excess over the limit, with its unit; empty where it is not known.
        share: The same excess as a share of the limit, above 0; infinite where it is not known.
    """

    told: str
    beyond: str
    share: float

    def __str__(self) -> str:
        return f"{self.told} ({self.beyond} too much)" if self.beyond else self.told


def misses(profile: Profile, limits: Limits) -> Iterator[Miss]:
    """Yield the limits that a build does not meet; that of accuracy comes first.

    Args:
        profile: Measurements of the build.
        limits: Limits that the user sets.
    """
    accuracy = profile.accuracy
    drop = None if accuracy is None else accuracy.drop
    if drop is not None and not inside_margin(drop, limits.max_drop):
        where = "" if drop.output is None else f"in '{drop.output}' "
        beyond = drop.interval.high - limits.max_drop
        missing = f"{beyond:.2g} {drop.unit}", beyond / (limits.max_drop or 1.0)
        if drop.interval.low > limits.max_drop:
            points = _seen_above(drop.points, limits.max_drop)
            yield Miss(
                f"drops {where}{points} {drop.unit}, outside the margin of {limits.max_drop:g}", *missing
            )
        else:
            most = _seen_above(drop.interval.high, limits.max_drop)
            yield Miss(
                f"drop {where}undecided: {drop.points:.2f} {drop.unit}, up to {most} with 95 % confidence; "
                f"the margin is {limits.max_drop:g}",
                *missing,
            )
    elif accuracy is not None and drop is not None and drop.rounding is None and not decidable(accuracy):
        few = f"{accuracy.samples} samples, and {accuracy.metric} is decided on {LEAST_SAMPLES} or more"
        yield Miss(f"drop undecided: {few}", "", math.inf)
    memory = None if profile.peak_memory_mb is None else profile.peak_memory_mb * _MB_PER_MIB
    for option, unit, limit, figure, what in (
        ("--max-latency", "ms", limits.max_latency_ms, profile.latency[0].p50_ms, "latency"),
        ("--max-size", "MB", limits.max_size_mb, profile.artifact_bytes / 1e6, "size"),
        ("--max-memory", "MB", limits.max_memory_mb, memory, "peak memory"),
        ("--max-power", "W", limits.max_power_w, profile.power_w, "power"),
    ):
        if limit is None:
            continue
        if figure is None:
            yield Miss(f"its {what} was not measured, and {option} limits it", "", math.inf)
        elif figure > limit:
            kind = " at its peak" if option == "--max-memory" else ""
            if option == "--max-latency" and profile.latency[0].source == "estimated":
                kind = " by estimate"
            phrase = f"{_told_above(figure, limit)} {unit}{kind}, over {option} {limit:g} {unit}"
            yield Miss(phrase, f"{figure - limit:.3g} {unit}", figure / limit - 1)


def farthest(missing: Sequence[Miss]) -> float:
    """Return by how much a build is outside of the limit that it misses most, as a share of it; 0 where it is inside.

    Of a margin of no points at all, the share is of one point.
    """
    return max((miss.share for miss in missing), default=0.0)


def judged_at_largest(objective: Objective) -> bool:
    """Whether an objective is judged at the target's largest batch size, not at its first."""
    return objective in _AT_LARGEST


def judged_latency(profile: Profile, objective: Objective) -> Latency:
    """Return the latency that decides: at the last batch size for throughput and cost, else at the first.

    Args:
        profile: A measured build.
        objective: Quantity that is minimised.
    """
    back_to_back = [latency for latency in profile.latency if latency.period_ms is None]
    return back_to_back[-1] if judged_at_largest(objective) else back_to_back[0]


@dataclass(frozen=True)
class Figure:
    """A figure that is minimised.

    Attributes:
        low: Its lower bound, in the unit of ``value``.
        value: The figure.
        high: Its upper bound.
    """

    low: float
    value: float
    high: float


def energy_of(profile: Profile) -> Figure | None:
    """Return the energy of one sample in millijoules; None where it was not measured."""
    if profile.energy_mj is None:
        return None
    batch = profile.energy_batch or profile.latency[0].batch
    between = profile.energy_interval or Interval(profile.energy_mj, profile.energy_mj, 0.9)
    return Figure(between.low / batch, profile.energy_mj / batch, between.high / batch)


def cost_of(profile: Profile, price: Price, original: Profile | None) -> Figure | None:
    """Return the money for a million samples at the last batch size, in the price's currency.

    Args:
        profile: A measured build.
        price: Prices of the target.
        original: The original network in fp32, as timed in the same run: ratios refer to it. None where it does not
            run; the build's own time counts then.

    Returns:
        The figure; None where energy has a price and was not measured.
    """
    judged = judged_latency(profile, "cost")
    reference, ratio = judged, 1.0
    if original is not None and judged.ratio is not None:
        reference, ratio = judged_latency(original, "cost"), judged.ratio
    between = judged.ratio_interval or Interval(ratio, ratio, 0.9)
    energy = energy_of(profile)
    ms = reference.p50_ms / reference.batch
    bounds = [
        price.of_a_million(share * ms, mj)
        for share, mj in zip(
            (between.low, ratio, between.high),
            (None,) * 3 if energy is None else (energy.low, energy.value, energy.high),
            strict=True,
        )
    ]
    low, value, high = bounds
    return None if low is None or value is None or high is None else Figure(low, value, high)


def _seen_above(points: float, margin: float) -> str:
    """Format a drop with enough digits, at least two, to show that it is above the margin."""
    for digits in range(2, 8):
        text = f"{points:.{digits}f}"
        if float(text) > margin:
            return text
    return f"{points:g}"


def _told_above(value: float, limit: float) -> str:
    """A figure in as many significant digits as show that it is above the limit, three at least."""
    for digits in range(3, 16):
        rounded = f"{value:.{digits}g}"
        if float(rounded) > limit:
            return rounded
    return f"{value}"
