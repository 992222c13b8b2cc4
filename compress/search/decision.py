"""The choice of the candidate that is shipped: the fastest one proven accurate enough and faster than fp32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compress.profiling.efficiency import pair_interval
from compress.records.profile import Drop, Latency, Profile
from compress.search.limits import (
    Figure,
    Limits,
    Miss,
    cost_of,
    energy_of,
    farthest,
    judged_latency,
    misses,
)
from compress.search.run_directory import Candidate

#: Ratios by estimate are known to within this share: two that lie closer, or one so close to 1, decide nothing.
_ESTIMATES_TIE = 0.05
#: What session options cost at a batch size, over those that are fastest there, from which on it is told.
_TOLD_COST = 1.05

#: Samples in a call, and milliseconds from call to call where calls are paced.
_Condition = tuple[int, float | None]


@dataclass(frozen=True)
class Choice:
    """The decision of a search, and its reason.

    Attributes:
        candidate: The candidate to ship; None where not even fp32 is inside the limits.
        reason: Reason of the choice, one short sentence; ``verdicts`` has the reasons against the others.
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
    if not candidates:
        return Choice(None, "nothing was tried", {}, ())
    original = candidates[0]
    verdicts = {entry.recipe.name: _objection(entry, limits, original) for entry in candidates}
    fit = [entry for entry in candidates if not verdicts[entry.recipe.name]]
    if not fit:
        return Choice(None, _nearest(candidates, limits, verdicts), verdicts, pareto_front(candidates))
    best = _best(fit, limits, original)
    for entry in fit:
        if entry is not best:
            verdicts[entry.recipe.name] = _runner_up(entry, best, limits, original)
    verdicts[best.recipe.name] = "shipped"
    reason = _reason(best, original, verdicts, limits)
    open_names = [entry.recipe.name for entry in fit if _is_open(entry, best, limits, original)]
    if open_names:
        reason += f"; {', '.join(open_names)} may be as fast, which no estimate tells: measure on the board (--host)"
    return Choice(best, reason, verdicts, pareto_front(candidates))


def is_outside(original: Candidate, limits: Limits) -> bool:
    """Whether fp32 itself misses a limit, so that a build need not be faster than it."""
    return original.profile is not None and any(misses(original.profile, limits))


def lowest_ratio(candidates: Sequence[Candidate], limits: Limits) -> float | None:
    """Return the upper bound of the best build's time over fp32's; None where nothing beats fp32.

    Args:
        candidates: All candidates that were tried so far, the original first.
        limits: Limits of the user; where time alone does not decide, or the whole front is wanted, None is returned.
    """
    if limits.front or limits.objective not in ("latency", "throughput"):
        return None
    ratios = [
        judged.ratio_interval.high
        for entry in candidates[1:]
        if not _objection(entry, limits, candidates[0])
        and (judged := judged_latency(_measured(entry), limits.objective)).ratio_interval is not None
    ]
    return min(ratios, default=None)


def settings_notes(candidate: Candidate | None) -> tuple[str, ...]:
    """Return notes on the cost of the shipped session options where they are not the fastest, a line per batch size.

    Args:
        candidate: The shipped candidate; None where nothing is shipped.
    """
    if candidate is None or candidate.profile is None:
        return ()
    return tuple(
        f"{candidate.recipe.name}: its session options take {latency.settings_cost:.2f}× the time of the fastest at "
        f"{_where(latency)}"
        for latency in candidate.profile.latency
        if latency.period_ms is None
        and latency.settings_cost is not None
        and latency.settings_cost > _TOLD_COST
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


def proven_front(candidates: Sequence[Candidate], limits: Limits) -> tuple[Candidate, ...]:
    """Return the builds inside every limit that no other such build beats in both accuracy and objective, best first.

    Args:
        candidates: All candidates that were tried, the original first.
        limits: Limits of the user; each build's drop is proven to be inside the margin.
    """
    points = [
        (figure.value, _points(entry.profile), entry)
        for entry in candidates
        if entry.profile is not None
        and not any(misses(entry.profile, limits))
        and (figure := _minimised(entry.profile, limits, candidates[0].profile)) is not None
    ]
    front = [
        (figure, entry)
        for figure, lost, entry in points
        if not any(
            other <= figure and other_lost <= lost and (other, other_lost) != (figure, lost)
            for other, other_lost, _ in points
        )
    ]
    return tuple(entry for _, entry in sorted(front, key=lambda point: point[0]))


def choice_on_front(
    entry: Candidate, choice: Choice, candidates: Sequence[Candidate], limits: Limits
) -> Choice:
    """Return the decision that the bundle of one build of the front tells.

    Args:
        entry: The build.
        choice: Decision of the search.
        candidates: All candidates that were tried, the original first.
        limits: Limits of the user.
    """
    name, original = entry.recipe.name, candidates[0]
    best_named = (
        {} if choice.candidate is None else {choice.candidate.recipe.name: "the best by the objective"}
    )
    verdicts = {**choice.verdicts, **best_named, name: "shipped"}
    what = "the original" if entry is original else _gains(entry, original, limits)
    return Choice(entry, f"on the Pareto front: {name}, {what}", verdicts, choice.front)


def _conditions(original: Candidate) -> set[_Condition]:
    """Return the conditions under which the original was timed."""
    return (
        set() if original.profile is None else {_condition(latency) for latency in original.profile.latency}
    )


def _condition(latency: Latency) -> _Condition:
    return latency.batch, latency.period_ms


def _objection(entry: Candidate, limits: Limits, original: Candidate) -> str:
    """Return the reason against shipping a candidate, or an empty string.

    Args:
        entry: The candidate.
        limits: Limits that the user sets.
        original: The original network in fp32. Where it is outside the limits itself, no build need be faster.
    """
    profile = entry.profile
    if profile is None:
        return entry.rejected or "not built"
    missed = next(misses(profile, limits), None)
    if missed is not None:
        return missed.told
    if _minimised(profile, limits, original.profile) is None:
        return f"its energy was not measured, and --objective {limits.objective} needs it"
    judged = judged_latency(profile, limits.objective)
    if judged.ratio is None or is_outside(original, limits):
        return ""
    if limits.objective not in ("latency", "throughput"):
        # What is better in another way may be as slow as fp32, and not slower.
        return f"slower than fp32 ({judged.ratio:.2f}× its time)" if _ends(judged)[0] > 1 else ""
    if _ends(judged)[1] >= 1:
        return _not_faster(judged)
    if limits.objective == "throughput":
        return ""
    for latency in profile.latency:
        if latency.ratio is not None and _ends(latency)[0] > 1:
            return f"slower than fp32 at {_where(latency)} ({latency.ratio:.2f}× its time)"
    timed = {_condition(latency) for latency in profile.latency}
    missing = sorted(batch for batch, _ in _conditions(original) - timed)
    if missing:
        return f"slower than another build at batch {judged.batch}, and so not timed at batch {missing[0]}"
    return ""


def _nearest(candidates: Sequence[Candidate], limits: Limits, verdicts: dict[str, str]) -> str:
    """Return the reason why nothing is shipped: the build that comes nearest, and how much each limit lacks of it."""
    missing: dict[str, tuple[Miss, ...]] = {
        entry.recipe.name: tuple(misses(entry.profile, limits))
        for entry in candidates
        if entry.profile is not None
    }
    name = min(missing, key=lambda recipe: farthest(missing[recipe]), default=None)
    if name is None:
        return "no build is inside the limits"
    if not missing[name]:
        return f"no build is shipped: {name} is inside the limits, but {verdicts[name]}"
    return f"no build is inside the limits; nearest is {name}: {'; and '.join(map(str, missing[name]))}"


def _not_faster(latency: Latency) -> str:
    """Tell a build that is slower from one that may be faster and was not proven to be."""
    between = latency.ratio_interval
    if between is None:
        if latency.source == "estimated" and _ratio(latency) < 1:
            return f"not faster than fp32 beyond what an estimate can tell ({latency.ratio:.3g}× its time)"
        return f"not faster than fp32 (estimated {latency.ratio:.2f}× its time)"
    if between.low > 1:
        return f"slower than fp32 ({latency.ratio:.2f}× its time)"
    return (
        f"not proven faster than fp32: {latency.ratio:.2f}× its time, between {between.low:.2f} and "
        f"{between.high:.2f}"
    )


def _where(latency: Latency) -> str:
    paced = "" if latency.period_ms is None else f" in calls {latency.period_ms:.3g} ms apart"
    return f"batch {latency.batch}{paced}"


def _minimised(profile: Profile, limits: Limits, original: Profile | None) -> Figure | None:
    """Return the figure that decides, with its bounds; None where what it needs was not measured."""
    if limits.objective == "size":
        return Figure(*[float(profile.artifact_bytes)] * 3)
    if limits.objective == "energy":
        return energy_of(profile)
    if limits.objective == "cost" and limits.price is not None:
        return cost_of(profile, limits.price, original)
    judged = judged_latency(profile, limits.objective)
    low, high = _ends(judged)
    return Figure(low, _ratio(judged), high)


def _figure(entry: Candidate, limits: Limits, original: Candidate) -> Figure:
    figure = _minimised(_measured(entry), limits, original.profile)
    if figure is None:
        raise ValueError(f"the {limits.objective} of '{entry.recipe.name}' was not measured")
    return figure


def _best(fit: Sequence[Candidate], limits: Limits, original: Candidate) -> Candidate:
    """Return the cheapest build; where intervals overlap, the one that is faster over all batch sizes."""
    limit = min((_figure(entry, limits, original) for entry in fit), key=lambda figure: figure.value).high
    tied = [entry for entry in fit if _figure(entry, limits, original).low <= limit]
    return min(tied, key=lambda entry: math.prod(_ratio(latency) for latency in _measured(entry).latency))


def _is_open(entry: Candidate, best: Candidate, limits: Limits, original: Candidate) -> bool:
    """Whether only a measurement can tell which of two builds is faster: by estimate their bounds overlap.

    Of targets of which pairs of builds were published, the ratio of these two has an interval of its own.
    """
    if entry is best or original in (entry, best) or limits.objective not in ("latency", "throughput"):
        return False
    sources = {judged_latency(_measured(build), limits.objective).source for build in (entry, best)}
    ours, theirs = (_figure(build, limits, original) for build in (entry, best))
    if sources == {"estimated"}:
        factors = pair_interval(_measured(entry).target, *(_precision(build) for build in (entry, best)))
        if factors is not None:
            return ours.value / theirs.value * min(factors[0], 1 - _ESTIMATES_TIE) <= 1
    return "estimated" in sources and ours.low <= theirs.high


def _precision(entry: Candidate) -> str:
    """Return the narrowest precision of a build, by its recipe: ``int8``, ``fp8``, ``fp16`` or ``fp32``."""
    names = {step.technique for step in entry.recipe.steps}
    if names & {"quantize", "quantize_mixed", "qat"}:
        return "int8"
    return (
        "fp8" if "float8" in names else "fp16" if "cast" in names else "fp32"
    )  # bfloat16 is as wide as float16


def _runner_up(entry: Candidate, best: Candidate, limits: Limits, original: Candidate) -> str:
    name = best.recipe.name
    if _is_open(entry, best, limits, original):
        return f"may be as fast as {name}, which no estimate tells"
    ours, theirs = (_figure(build, limits, original) for build in (entry, best))
    near = ours.low <= theirs.high and limits.objective in ("energy", "cost", "size")
    if near or ours.value < theirs.value:
        same = {"size": "as small as", "energy": "takes as much energy as", "cost": "costs as much as"}
        kind = same.get(limits.objective)
        if kind == "as small as":
            return f"as small as {name}, and slower"
        within = f"{kind or 'as fast as'} {name} within noise"
        return f"{within}, and slower{'' if kind else ' over both batch sizes'}"
    more = {"size": "larger than", "energy": "takes more energy than", "cost": "costs more than"}
    return f"{more.get(limits.objective, 'slower than')} {name}"


def _reason(best: Candidate, original: Candidate, verdicts: dict[str, str], limits: Limits) -> str:
    if best is original:
        beaten = "nothing beat it" if len(verdicts) > 1 else "nothing else was tried"
        return f"shipped: {original.recipe.name}, since {beaten}"
    return f"shipped: {best.recipe.name}, {_gains(best, original, limits)}"


def _gains(best: Candidate, original: Candidate, limits: Limits) -> str:
    """Return a build's time, energy or money, and loss, beside fp32, as a clause."""
    profile = _measured(best)
    latency = profile.latency[0]
    drop = profile.accuracy.drop if profile.accuracy else None
    lost = "" if drop is None else f", and {_lost(drop)}"
    word = "by estimate " if latency.source == "estimated" else ""
    return (
        f"which takes {word}{_ratio(latency):.2f}× the time of fp32 "
        f"at batch {latency.batch}{_spent(best, original, limits)}{lost}"
    )


def _spent(best: Candidate, original: Candidate, limits: Limits) -> str:
    """Return what a sample takes of energy or money, beside fp32, where that decided; else an empty string."""
    if limits.objective not in ("energy", "cost"):
        return ""
    ours, theirs = (_figure(build, limits, original).value for build in (best, original))
    if limits.objective == "energy":
        batch = _measured(best).energy_batch or _measured(best).latency[0].batch
        return f" and {ours:.3g} mJ a sample at batch {batch} (fp32: {theirs:.3g})"
    judged = judged_latency(_measured(best), limits.objective)
    word = "by estimate " if judged.source == "estimated" else ""
    currency = "" if limits.price is None else limits.price.currency
    return f" and costs {word}{ours:.3g} {currency} per million samples at batch {judged.batch} (fp32: {theirs:.3g})"


def _lost(drop: Drop) -> str:
    if drop.rounding is not None:
        return f"computes the same: its outputs differ by rounding ({drop.rounding:.0e} of the largest)"
    points, most = round(drop.points, 2), f"at most {drop.interval.high:.2f} with 95 % confidence"
    if points < 0:
        return f"gains {-points:.2f} {drop.unit} (drops {most})"
    return f"drops {abs(points):.2f} {drop.unit} ({most})"


def _ends(latency: Latency) -> tuple[float, float]:
    """Return the bounds of the build's ratio: as measured, or those within which an estimate of it says nothing."""
    if latency.ratio_interval is not None:
        return latency.ratio_interval.low, latency.ratio_interval.high
    ratio = _ratio(latency)
    return ratio * (1 - _ESTIMATES_TIE), ratio if latency.ratio is None else ratio / (1 - _ESTIMATES_TIE)


def _ratio(latency: Latency) -> float:
    return 1.0 if latency.ratio is None else latency.ratio


def _points(profile: Profile) -> float:
    drop = profile.accuracy.drop if profile.accuracy else None
    return 0.0 if drop is None else drop.points


def _measured(entry: Candidate) -> Profile:
    if entry.profile is None:
        raise ValueError(f"candidate '{entry.recipe.name}' was not measured")
    return entry.profile
