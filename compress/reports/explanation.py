"""An account of a search: gains of each technique, builds that were not shipped, and next steps.

Everything is taken from the recorded measurements. A build is compared with the largest measured part of its recipe:
the same back end or the target's own, and the first of its steps. So a chain of recipes that share their first steps
shows what each step brought. Both were compared with the original, each with an interval of its own; the interval
between the two is what these two allow together, and is wider than that of a direct comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

from compress.gate.accuracy import samples_needed
from compress.records.profile import LEAST_SAMPLES, Interval, decidable, inside_margin
from compress.search.limits import Limits, Objective, judged_latency

if TYPE_CHECKING:
    from compress.recipe import Recipe
    from compress.records.profile import Drop, Latency, Profile
    from compress.search.decision import Choice
    from compress.search.run_directory import Candidate

#: Precisions that some target computes in, as targets name them.
_PRECISIONS = ("fp16", "bf16", "int8", "fp8")

#: Share of the layers' time from which on what bounds it is worth another target.
_WORTH_NAMING = 0.2


@dataclass(frozen=True)
class Change:
    """The difference between two builds in one figure.

    Attributes:
        value: Difference or ratio; the figure's own field says which.
        low: Lower bound; None where it is unknown.
        high: Upper bound; None where it is unknown.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Gain:
    """The gain of a build over the build that holds the first part of its recipe.

    Attributes:
        name: Name of the build's recipe.
        over: Name of the recipe that it is compared with.
        added: Steps, back end and session options that it adds to that recipe, in order.
        lost: Accuracy lost by them, in ``unit``; negative where accuracy is gained. None where it is unknown.
        unit: Unit of ``lost``: points, or percent of the mean.
        time: Ratio of the two times at the batch size that decides; None where it is unknown.
        batch: Number of samples of the calls that ``time`` is of.
        estimated: Whether ``time`` is estimated.
        size: Ratio of the two sizes in bytes.
        verdict: Phrase on the build: "shipped", or the reason against it.
    """

    name: str
    over: str
    added: tuple[str, ...]
    lost: Change | None
    unit: str
    time: Change | None
    batch: int
    estimated: bool
    size: float
    verdict: str


@dataclass(frozen=True)
class Explanation:
    """An account of a search.

    Attributes:
        shipped: Name of the recipe that was shipped.
        reason: Reason of the choice, one sentence.
        original: Name of the original network among the builds.
        steps: Gains on the way from the original to what was shipped, in order; empty where the original was shipped.
        rejected: Gains of the other builds that were measured.
        unmeasured: Reason why each other recipe has no measured build, by its name.
        untried: Names of recipes that the time did not suffice for.
        more_data: Sentences on the builds that more evaluation samples may let in: their drop is inside the margin, its
            interval is not.
        more_time: Sentences on what more time would decide or try.
        another_target: Sentences on what another target would bring.
        predictions: Sentences on times that pruning predicted from those of layers, beside what whole calls took.
        greedy: Sentence on how long the greedy text of what was shipped is the original's; None for other networks
            than language models.
    """

    shipped: str
    reason: str
    original: str
    steps: tuple[Gain, ...]
    rejected: tuple[Gain, ...]
    unmeasured: Mapping[str, str]
    untried: tuple[str, ...]
    more_data: tuple[str, ...]
    more_time: tuple[str, ...]
    another_target: tuple[str, ...]
    predictions: tuple[str, ...] = ()
    greedy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, as ``compress explain --json`` prints it."""
        return {"schema": 1, **asdict(self), "unmeasured": dict(self.unmeasured)}


def explanation_of(
    manifest: Mapping[str, Any], choice: Choice, candidates: Sequence[Candidate]
) -> Explanation:
    """Return the account of a search.

    Args:
        manifest: Manifest of its bundle.
        choice: Choice that was made, which has a candidate.
        candidates: All candidates that were tried, the original first.
    """
    objective, margin = _asked(manifest.get("options", {}))
    gains = {
        entry.recipe.name: _gain(entry, base, objective, choice.verdicts[entry.recipe.name])
        for entry in candidates[1:]
        if (base := _base(entry, candidates)) is not None
    }
    shipped = str(manifest["name"])
    steps: list[Gain] = []
    name = shipped
    while name in gains:
        steps.insert(0, gains[name])
        name = gains[name].over
    on_the_way = {gain.name for gain in steps}
    untried = tuple(str(recipe) for recipe in manifest.get("untried", ()))
    return Explanation(
        shipped=shipped,
        reason=choice.reason,
        original=candidates[0].recipe.name,
        steps=tuple(steps),
        rejected=tuple(gain for gain in gains.values() if gain.name not in on_the_way),
        unmeasured={
            entry.recipe.name: choice.verdicts[entry.recipe.name]
            for entry in candidates
            if entry.profile is None
        },
        untried=untried,
        more_data=tuple(_more_data(choice, candidates, margin, objective)),
        more_time=tuple(_more_time(choice, candidates, untried, objective)),
        another_target=tuple(_another_target(choice, manifest)),
        predictions=tuple(_predictions(candidates)),
        greedy=_greedy(choice),
    )


def _asked(options: Mapping[str, Any]) -> tuple[Objective, float]:
    """Return the objective and the margin in points of a manifest's options; the defaults where it holds neither."""
    objectives: tuple[Objective, ...] = get_args(Objective)
    objective = next((name for name in objectives if name == options.get("objective")), objectives[0])
    margin = options.get("max-drop")
    return objective, float(margin) if isinstance(margin, int | float) else Limits.max_drop


def _base(entry: Candidate, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the measured build with the largest part of a recipe; None for a build that was not measured."""
    parts = [
        other
        for other in candidates
        if other is not entry and other.profile is not None and _is_part(other.recipe, entry.recipe)
    ]
    if entry.profile is None or not parts:
        return None
    return max(parts, key=lambda part: (len(part.recipe.steps), bool(part.recipe.backend)))


def _is_part(part: Recipe, whole: Recipe) -> bool:
    """Whether a recipe is the beginning of another one, and not the same."""
    begins = whole.steps[: len(part.steps)] == part.steps
    inside = part.backend in (None, whole.backend) and part.session in ({}, whole.session)
    return begins and inside and part.identity != whole.identity


def _added(part: Recipe, whole: Recipe) -> tuple[str, ...]:
    """Return the steps, back end and session options that a recipe adds to its beginning, in words."""
    techniques = [step.technique for step in whole.steps[len(part.steps) :]]
    backend = [f"back end {whole.backend}"] if whole.backend != part.backend else []
    options = (f"{name} {value}" for name, value in whole.session.items())
    session = [f"session options {', '.join(options)}"] if whole.session != part.session else []
    return (*techniques, *backend, *session)


def _gain(entry: Candidate, base: Candidate, objective: Objective, verdict: str) -> Gain:
    ours, theirs = entry.profile, base.profile
    if ours is None or theirs is None:
        raise ValueError("two builds that were measured are compared")
    latency = judged_latency(ours, objective)
    drop = _drop(ours)
    return Gain(
        name=entry.recipe.name,
        over=base.recipe.name,
        added=_added(base.recipe, entry.recipe),
        lost=_lost(drop, _drop(theirs)),
        unit="points" if drop is None else drop.unit,
        time=_time(latency, judged_latency(theirs, objective)),
        batch=latency.batch,
        estimated=latency.source == "estimated",
        size=ours.artifact_bytes / max(theirs.artifact_bytes, 1),
        verdict=verdict,
    )


def _drop(profile: Profile) -> Drop | None:
    return None if profile.accuracy is None else profile.accuracy.drop


def _lost(ours: Drop | None, theirs: Drop | None) -> Change | None:
    """Return the accuracy that a build lost more than another one; None without, or where outputs differ."""
    if ours is None or (theirs is not None and theirs.output != ours.output):
        return None
    if theirs is None:
        return Change(ours.points, ours.interval.low, ours.interval.high)
    low = ours.interval.low - theirs.interval.high
    return Change(ours.points - theirs.points, low, ours.interval.high - theirs.interval.low)


def _time(ours: Latency, theirs: Latency) -> Change | None:
    """Return the ratio of two times that were each compared with the original; None where ours was not."""
    if ours.ratio is None or ours.batch != theirs.batch:
        return None
    base = 1.0 if theirs.ratio is None else theirs.ratio
    if not base:
        return None
    between = ours.ratio_interval
    below = Interval(1.0, 1.0, 1.0) if theirs.ratio is None else theirs.ratio_interval
    if between is None or below is None or below.low <= 0:
        return Change(ours.ratio / base)
    return Change(ours.ratio / base, between.low / below.high, between.high / below.low)


def _more_data(
    choice: Choice, candidates: Sequence[Candidate], margin: float, objective: Objective
) -> Sequence[str]:
    """Return a sentence for each faster build whose drop is undecided, the fewest samples first."""
    best = _ratio(choice.candidate, objective)
    counted: list[tuple[int, str]] = []
    for entry in candidates[1:]:
        profile = entry.profile
        drop = None if profile is None else _drop(profile)
        if profile is None or profile.accuracy is None or drop is None or _ratio(entry, objective) >= best:
            continue
        samples, needed = profile.accuracy.samples, None
        # More samples of a build that drops by more than the margin would most likely say no.
        if not inside_margin(drop, margin) and drop.points <= margin:
            needed = samples_needed(drop, samples, margin)
        elif inside_margin(drop, margin) and drop.rounding is None and not decidable(profile.accuracy):
            needed = LEAST_SAMPLES
        if needed is not None:
            ratio = _ratio(entry, objective)
            counted.append(
                (
                    needed,
                    f"{entry.recipe.name} takes {ratio:.2f}× the time of fp32, and its drop is undecided on "
                    f"{samples} samples: about {needed} samples would decide",
                )
            )
    return [sentence for _, sentence in sorted(counted)]


def _more_time(
    choice: Choice, candidates: Sequence[Candidate], untried: Sequence[str], objective: Objective
) -> Sequence[str]:
    """Return sentences on recipes that were not tried, and on builds that were not proven faster."""
    sentences = []
    if untried:
        sentences.append(f"a larger --time-budget tries what was not: {', '.join(untried)}")
    for entry in candidates[1:]:
        if entry.profile is None or entry is choice.candidate:
            continue
        latency = judged_latency(entry.profile, objective)
        between = latency.ratio_interval
        if latency.ratio is None or between is None or not latency.ratio < 1 <= between.high:
            continue
        if choice.verdicts[entry.recipe.name].startswith("not proven faster"):
            times = ((between.high - latency.ratio) / (1 - latency.ratio)) ** 2
            sentences.append(
                f"{entry.recipe.name} may be faster than fp32 ({latency.ratio:.2f}×, between {between.low:.2f} and "
                f"{between.high:.2f}): about {max(times, 1.1):.2g} times the --seconds would decide"
            )
    return sentences


def _another_target(choice: Choice, manifest: Mapping[str, Any]) -> Sequence[str]:
    """Return sentences on the resource that bounds the shipped build, and on precisions that the target lacks."""
    profile = None if choice.candidate is None else choice.candidate.profile
    sentences = []
    layers = [] if profile is None else [layer for layer in profile.layers if layer.ms and layer.bound]
    whole = sum(layer.ms or 0.0 for layer in layers)
    resources = {
        "memory": "bandwidth of memory",
        "compute": "arithmetic",
        "launch": "speed in starting kernels",
    }
    for bound, resource in resources.items():
        share = sum(layer.ms or 0.0 for layer in layers if layer.bound == bound) / whole if whole else 0.0
        if share >= _WORTH_NAMING:
            sentences.append(
                f"{100 * share:.0f} % of the layers' time is bound by {resource}, by estimate: twice of it takes the "
                f"time to {1 - share / 2:.2f}× at best"
            )
    target = manifest["target"]
    lacking = [name for name in _PRECISIONS if name not in target.get("precisions", _PRECISIONS)]
    if lacking:
        sentences.append(
            f"{target['name']} does not compute in {', '.join(lacking)}: a target that does may be faster"
        )
    return sentences


def _predictions(candidates: Sequence[Candidate]) -> Sequence[str]:
    """Return how far the time of each pruned network was from the one that its widths were chosen by."""
    sentences = []
    for entry in candidates:
        report = entry.reports.get("prune")
        latency = report.get("latency") if isinstance(report, Mapping) else None
        if not isinstance(latency, Mapping):
            continue
        predicted, measured = latency.get("predicted"), latency.get("measured")
        if isinstance(predicted, float) and isinstance(measured, float):
            sentences.append(
                f"{entry.recipe.name}: the times of its layers predicted {predicted:.2f}× the time of the network, "
                f"whole calls took {measured:.2f}×: off by {abs(predicted - measured):.2f}"
            )
    return sentences


def _greedy(choice: Choice) -> str | None:
    profile = None if choice.candidate is None else choice.candidate.profile
    return None if profile is None or profile.greedy is None else str(profile.greedy) or None


def _ratio(entry: Candidate | None, objective: Objective) -> float:
    """Return the time of a build over fp32's at the batch size that decides; infinite where it is unknown."""
    if entry is None or entry.profile is None:
        return float("inf")
    ratio = judged_latency(entry.profile, objective).ratio
    return 1.0 if ratio is None else ratio
