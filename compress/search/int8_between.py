"""Int8 builds between one that lost too much accuracy and a slower one that kept it.

Layers are left in float in one order, that of their sensitivity: the first k of it, none and all included. Builds that
were measured say which k are too few and which are enough; what lies between is halved. A build whose drop is only
undecided asks for one more layer, then for two and four more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.quantization.sensitivity import Sensitivity, orders
from compress.recipe import Recipe, Step
from compress.records.profile import inside_margin
from compress.search.limits import Limits
from compress.search.proposal import Proposal, best_time, keeps_accuracy, points, time_of

if TYPE_CHECKING:
    from compress.search.run_directory import Candidate, RunDirectory

#: Builds between at the most: enough to halve 32 layers.
_MOST = 5

#: Share of the best build's time that a build between must promise to save.
_WORTH = 0.05

_SETTINGS = {"scope": "all", "rounding": "reconstructed"}


@dataclass(frozen=True)
class _Point:
    """A build by its number of layers in float.

    Attributes:
        in_float: Number of layers in float, the first of the order.
        ratio: Its time over fp32's.
        kept: Whether it was measured inside the margin.
        undecided: Whether its drop is neither shown to be inside the margin nor outside of it.
    """

    in_float: int
    ratio: float
    kept: bool
    undecided: bool = False


def proposal_between(limits: Limits, gains: Callable[[RunDirectory], bool]) -> Proposal:
    """Propose int8 builds with other numbers of layers in float than those that were measured.

    Args:
        limits: The user's limits.
        gains: Function that tells whether int8 is faster than what else was built.
    """
    return Proposal(
        Recipe("int8-…-in-float", (Step("quantize", _SETTINGS),)),
        f"if a faster int8 build loses more than {points(limits)}, and what lies between may be the fastest: up to "
        f"{_MOST} builds with more layers in float or fewer",
        lambda run: _between(run, limits) if gains(run) else None,
        most=_MOST,
    )


def fastest_between(run: RunDirectory, limits: Limits) -> Recipe | None:
    """Return the fastest build of :func:`proposal_between` that kept its accuracy; None without one."""
    kept = [
        entry
        for entry in run.candidates
        if _excluded(entry.recipe) and keeps_accuracy(run, limits, entry.recipe)
    ]
    return min(kept, key=lambda entry: time_of(entry, limits)).recipe if kept else None


def _between(run: RunDirectory, limits: Limits) -> Recipe | None:
    """Return the next build between; None where none promises to be worth its time, or a file's size decides."""
    if limits.objective == "size":
        return None
    order, tried = _order(run), _tried(run)
    if not order:
        return None
    points = [point for entry in run.candidates if (point := _point(entry, order, limits)) is not None]
    enough = min(
        (candidate_point for candidate_point in points if candidate_point.kept),
        key=_number,
        default=_Point(len(order), 1.0, True),
    )
    few = [
        candidate_point
        for candidate_point in points
        if not candidate_point.kept and candidate_point.in_float < enough.in_float
    ]
    if not few:
        return None
    too_few = max(few, key=_number)
    gap = enough.in_float - too_few.in_float
    if gap < 2:
        return None
    more = min(2**tried, gap // 2) if too_few.undecided else gap // 2
    promised = too_few.ratio + (enough.ratio - too_few.ratio) * more / gap
    if promised > (1 - _WORTH) * best_time(run, limits):
        return None
    chosen = order[: too_few.in_float + more]
    step = Step("quantize", {**_SETTINGS, "exclude_nodes": sorted(chosen)})
    recipe = Recipe(f"int8-{len(chosen)}-in-float", (step,))
    return recipe if run.find(recipe) is None else None


def _number(point: _Point) -> int:
    return point.in_float


def _tried(run: RunDirectory) -> int:
    """Return how many builds between were tried."""
    return sum(bool(_excluded(entry.recipe)) for entry in run.candidates)


def _excluded(recipe: Recipe) -> Sequence[str] | None:
    """Return the layers that a recipe of one step leaves in float; None where it is no build of this kind."""
    if (
        recipe.backend is not None
        or recipe.session
        or [step.technique for step in recipe.steps] != ["quantize"]
    ):
        return None
    settings = dict(recipe.steps[0].settings)
    excluded: Sequence[str] = settings.pop("exclude_nodes", ())
    return excluded if settings == _SETTINGS else None


def _order(run: RunDirectory) -> list[str]:
    """Return all layers in the order in which the last choice among them left them in float; empty without one."""
    chosen = [
        entry for entry in run.candidates if "sensitivity" in entry.reports and entry.recipe.backend is None
    ]
    if not chosen:
        return []
    layers = chosen[-1].reports["sensitivity"]["layers"]
    sensitivities = [
        Sensitivity(layer["layer"], layer["operator"], layer["error"], layer["cost"], layer["together"])
        for layer in layers
    ]
    float_layers = {layer["layer"] for layer in layers if layer["kept"] == "float"}
    by_error, by_worth = ([sensitivity.layer for sensitivity in order] for order in orders(sensitivities))
    return (
        by_error
        if set(by_error[: len(float_layers)]) == float_layers != set(by_worth[: len(float_layers)])
        else by_worth
    )


def _point(entry: Candidate, order: Sequence[str], limits: Limits) -> _Point | None:
    """Return where a build lies in the order; None where it was not measured, or left other layers in float."""
    profile = entry.profile
    drop = None if profile is None or profile.accuracy is None else profile.accuracy.drop
    excluded = _excluded(entry.recipe)
    if excluded is None and [step.technique for step in entry.recipe.steps] == ["quantize_mixed"]:
        layers = entry.reports.get("sensitivity", {}).get("layers", ())
        excluded = [layer["layer"] for layer in layers if layer["kept"] == "float"]
    if drop is None or excluded is None or entry.recipe.backend is not None:
        return None
    if set(excluded) != set(order[: len(excluded)]):
        return None
    is_inside = inside_margin(drop, limits.max_drop)
    undecided = not is_inside and drop.interval.low <= limits.max_drop
    return _Point(len(excluded), time_of(entry, limits), is_inside, undecided)
