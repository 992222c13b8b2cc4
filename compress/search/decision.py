"""The choice of the candidate that is shipped: the fastest one proven accurate enough and faster than fp32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compress.records.profile import LEAST_SAMPLES, Drop, Latency, Profile, decidable, inside_margin
from compress.search.run_directory import Candidate

_ESTIMATES_TIE = 0.05
#: What session options cost at a batch size, over those that are fastest there, from which on it is told.
_TOLD_COST = 1.05

#: Samples in a call, and milliseconds from call to call where calls are paced.
_Condition = tuple[int, float | None]

Objective = Literal["latency", "throughput", "size"]


@dataclass(frozen=True)
class Limits:
    """Limits that the user sets for the build.

    Attributes:
        max_drop: Accuracy drop allowed, in points; the drop's upper 95 % bound must be at or below it.
        max_latency_ms: Median latency allowed at the first batch size, in milliseconds.
        max_size_mb: Size of the artifact allowed, in MB (10⁶ bytes).
        objective: Quantity to minimise: latency at the first batch size, and not to be slower at another; time per
            sample at the last ("throughput"), whatever a single sample takes; or bytes ("size").
    """

    max_drop: float = 1.0
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    objective: Objective = "latency"


@dataclass(frozen=True)
class Choice:
    """The decision of a search, and its reason.

    Attributes:
        candidate: The candidate to ship; None where not even fp32 is inside the limits.
        reason: Reason of the choice, one sentence.
        verdicts: Phrase by the recipe's name: "shipped", or the reason against it.
        front: Names of the recipes on the Pareto front of accuracy and latency, fastest first.
    """

    candidate: Candidate | None
    reason: str
    verdicts: dict[str, str]
    front: tuple[str, ...]


def choose(candidates: Sequence[Candidate], limits: Limits) -> Choice:
    """Choose among measured candidates, of which the first is the original network in fp32.

    A candidate counts as faster only if the whole interval of its latency ratio to fp32 lies below 1 (for estimates,
    which have no such interval, the ratio itself) and at no other batch size above it, and as accurate only if the
    upper bound of its paired drop lies inside the margin; what the data cannot decide is not shipped. Whoever asks for
    throughput runs large batches: the other sizes decide nothing then.
    """
    verdicts = {
        entry.recipe.name: _objection(entry, limits, _conditions(candidates[0])) for entry in candidates
    }
    fit = [entry for entry in candidates if not verdicts[entry.recipe.name]]
    if not fit:
        reason = (
            f"no build is inside the limits: {'; '.join(f'{name} {why}' for name, why in verdicts.items())}"
        )
        return Choice(None, reason, verdicts, pareto_front(candidates))
    best = _best(fit, limits.objective)
    original = candidates[0]
    for entry in fit:
        if entry is not best:
            verdicts[entry.recipe.name] = _runner_up(entry, best, limits)
    verdicts[best.recipe.name] = "shipped"
    return Choice(best, _reason(best, original, verdicts), verdicts, pareto_front(candidates))


def lowest_ratio(candidates: Sequence[Candidate], limits: Limits) -> float | None:
    """Return the upper bound of the best build's time over fp32's; None where nothing beats fp32.

    Args:
        candidates: All candidates that were tried so far, the original first.
        limits: Limits of the user; where the smallest file is wanted, no time decides and None is returned.
    """
    if limits.objective == "size":
        return None
    known = [
        judged.ratio_interval.high
        for entry in candidates[1:]
        if not _objection(entry, limits, _conditions(candidates[0]))
        and (judged := judged_latency(_measured(entry), limits.objective)).ratio_interval is not None
    ]
    return min(known, default=None)


def settings_notes(candidate: Candidate | None) -> tuple[str, ...]:
    """Return notes on the cost of the shipped session options where they are not the fastest, a line per batch size.

    Args:
        candidate: The shipped candidate; None where nothing is shipped.
    """
    if candidate is None or candidate.profile is None:
        return ()
    return tuple(
        f"{candidate.recipe.name}: its session options take {each.settings_cost:.2f}× the time of the fastest at "
        f"{_where(each)}"
        for each in candidate.profile.latency
        if each.period_ms is None and each.settings_cost is not None and each.settings_cost > _TOLD_COST
    )


def pareto_front(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Return the names of candidates that no other beats in both accuracy drop and latency, fastest first."""
    points = [
        (_ratio(entry.profile.latency[0]), _points(entry.profile), entry.recipe.name)
        for entry in candidates
        if entry.profile is not None
    ]
    return tuple(
        name
        for ratio, points_lost, name in sorted(points)
        if not any(
            (other_ratio <= ratio and other_points <= points_lost)
            and (other_ratio < ratio or other_points < points_lost)
            for other_ratio, other_points, _ in points
        )
    )


def _conditions(original: Candidate) -> set[_Condition]:
    """Return the conditions under which the original was timed."""
    return set() if original.profile is None else {_condition(each) for each in original.profile.latency}


def _condition(latency: Latency) -> _Condition:
    return latency.batch, latency.period_ms


def _objection(entry: Candidate, limits: Limits, conditions: set[_Condition]) -> str:
    """Return the reason against shipping a candidate, or an empty string.

    Args:
        entry: The candidate.
        limits: Limits that the user sets.
        conditions: Conditions under which the original was timed.
    """
    profile = entry.profile
    if profile is None:
        return entry.rejected or "not built"
    latency = profile.latency[0]
    drop = profile.accuracy.drop if profile.accuracy else None
    if drop is not None and not inside_margin(drop, limits.max_drop):
        where = "" if drop.output is None else f"in '{drop.output}' "
        if drop.interval.low > limits.max_drop:
            points = _seen_above(drop.points, limits.max_drop)
            return f"drops {where}{points} points, outside the margin of {limits.max_drop:g}"
        most = _seen_above(drop.interval.high, limits.max_drop)
        return (
            f"drop {where}undecided: {drop.points:.2f} points, up to {most} with 95 % confidence; "
            f"the margin is {limits.max_drop:g}"
        )
    accuracy = profile.accuracy
    if accuracy is not None and drop is not None and drop.rounding is None and not decidable(accuracy):
        few = f"{accuracy.samples} samples, and {accuracy.metric} is decided on {LEAST_SAMPLES} or more"
        return f"drop undecided: {few}"
    if limits.max_latency_ms is not None and latency.p50_ms > limits.max_latency_ms:
        time = _told_above(latency.p50_ms, limits.max_latency_ms)
        return f"{time} ms, over --max-latency {limits.max_latency_ms:g} ms"
    if limits.max_size_mb is not None and profile.artifact_bytes > limits.max_size_mb * 1e6:
        size = _told_above(profile.artifact_bytes / 1e6, limits.max_size_mb)
        return f"{size} MB, over --max-size {limits.max_size_mb:g} MB"
    judged = judged_latency(profile, limits.objective)
    if judged.ratio is None:
        return ""
    if limits.objective == "size":
        # A smaller file may be as slow as fp32, and not slower.
        slower = judged.ratio_interval is not None and judged.ratio_interval.low > 1
        return f"slower than fp32 ({judged.ratio:.2f}× its time)" if slower else ""
    slowest = judged.ratio if judged.ratio_interval is None else judged.ratio_interval.high
    if slowest >= 1:
        return f"not faster than fp32 ({judged.ratio:.2f}× its time)"
    if limits.objective == "throughput":
        return ""
    for latency in profile.latency:
        if latency.ratio_interval is not None and latency.ratio_interval.low > 1:
            return f"slower than fp32 at {_where(latency)} ({latency.ratio:.2f}× its time)"
    missing = sorted(batch for batch, _ in conditions - {_condition(each) for each in profile.latency})
    if missing:
        return f"slower than another build at batch {judged.batch}, and so not timed at batch {missing[0]}"
    return ""


def _seen_above(points: float, margin: float) -> str:
    """Format a drop with enough digits, at least two, to show that it is above the margin."""
    for digits in range(2, 8):
        text = f"{points:.{digits}f}"
        if float(text) > margin:
            return text
    return f"{points:g}"


def _told_above(value: float, limit: float) -> str:
    """A time or a size in as many significant digits as show that it is above the limit, three at least."""
    for digits in range(3, 16):
        told = f"{value:.{digits}g}"
        if float(told) > limit:
            return told
    return f"{value}"


def _where(latency: Latency) -> str:
    paced = "" if latency.period_ms is None else f" in calls {latency.period_ms:.3g} ms apart"
    return f"batch {latency.batch}{paced}"


def _best(fit: Sequence[Candidate], objective: Objective) -> Candidate:
    """Return the cheapest build; where latency intervals overlap, the one that is faster over all batch sizes."""
    first = min(fit, key=lambda entry: _cost(_measured(entry), objective))
    if objective == "size":
        return first
    limit = _ends(judged_latency(_measured(first), objective))[1]
    tied = [entry for entry in fit if _ends(judged_latency(_measured(entry), objective))[0] <= limit]
    return min(tied, key=lambda entry: math.prod(_ratio(latency) for latency in _measured(entry).latency))


def _runner_up(entry: Candidate, best: Candidate, limits: Limits) -> str:
    if limits.objective == "size":
        return f"larger than {best.recipe.name}"
    if _cost(_measured(entry), limits.objective) < _cost(_measured(best), limits.objective):
        return f"as fast as {best.recipe.name} within noise, and slower over both batch sizes"
    return f"slower than {best.recipe.name}"


def _reason(best: Candidate, original: Candidate, verdicts: dict[str, str]) -> str:
    if best is original:
        others = {name: why for name, why in verdicts.items() if name != original.recipe.name}
        objections = "; ".join(f"{name}: {why}" for name, why in others.items()) or "nothing else was tried"
        return f"shipped: {original.recipe.name}, since nothing beat it ({objections})"
    profile = _measured(best)
    latency = profile.latency[0]
    drop = profile.accuracy.drop if profile.accuracy else None
    lost = "" if drop is None else f", and {_lost(drop)}"
    word = "by estimate " if latency.source == "estimated" else ""
    return (
        f"shipped: {best.recipe.name}, which takes {word}{_ratio(latency):.2f}× the time of fp32 "
        f"at batch {latency.batch}{lost}"
    )


def _lost(drop: Drop) -> str:
    if drop.rounding is not None:
        return f"computes the same: its outputs differ by rounding ({drop.rounding:.0e} of the largest)"
    points, most = round(drop.points, 2), f"at most {drop.interval.high:.2f} with 95 % confidence"
    if points < 0:
        return f"gains {-points:.2f} points (drops {most})"
    return f"drops {abs(points):.2f} points ({most})"


def judged_latency(profile: Profile, objective: Objective) -> Latency:
    """Return the latency that decides: at the last batch size for throughput, else at the first.

    Args:
        profile: A measured build.
        objective: ``latency`` or ``size``, decided at the first batch size, or ``throughput``, decided at the last.
    """
    back_to_back = [each for each in profile.latency if each.period_ms is None]
    return back_to_back[-1] if objective == "throughput" else back_to_back[0]


def _cost(profile: Profile, objective: Objective) -> float:
    if objective == "size":
        return float(profile.artifact_bytes)
    return _ratio(judged_latency(profile, objective))


def _ends(latency: Latency) -> tuple[float, float]:
    """Return the bounds of the build's ratio; estimates closer than these cannot rank two builds."""
    if latency.ratio_interval is not None:
        return latency.ratio_interval.low, latency.ratio_interval.high
    return _ratio(latency) * (1 - _ESTIMATES_TIE), _ratio(latency)


def _ratio(latency: Latency) -> float:
    return 1.0 if latency.ratio is None else latency.ratio


def _points(profile: Profile) -> float:
    drop = profile.accuracy.drop if profile.accuracy else None
    return 0.0 if drop is None else drop.points


def _measured(entry: Candidate) -> Profile:
    if entry.profile is None:
        raise ValueError(f"candidate '{entry.recipe.name}' was not measured")
    return entry.profile
