"""Selection of the units to remove for a ratio."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from compress.core.suggestions import did_you_mean
from compress.errors import RecipeError
from compress.pruning.groups import Channels, Group
from compress.pruning.importance import Scores
from compress.pruning.rules.layers import OUTPUT_AXIS

#: No group loses more than this share of its units, whatever its scores are: an all but closed layer is a bottleneck.
MOST = 0.9

#: Tolerance for a product that is a whole number but for the rounding of floats.
_ROUNDING = 1e-6


def choose(
    channels: Channels,
    scores: Scores,
    ratio: float,
    *,
    per_layer: bool = False,
    keep: Iterable[str] = (),
    multiple: int = 1,
) -> dict[str, NDArray[np.int64]]:
    """Choose the units with the lowest scores.

    Args:
        channels: Units that can be removed.
        scores: Scores of all units, by group; a group without scores is kept.
        ratio: Share of all units to remove, in [0, 1).
        per_layer: Whether every group loses this share; if not, all units compete.
        keep: Names of layers whose outputs are kept whole; a name stands for all layers below it too.
        multiple: Number of units of which the rest of a group stays a multiple, where the group was one; kernels are
            fastest at 8 or 16.

    Returns:
        Positions of the units to remove, ascending, by the group's name; groups that lose none are left out.

    Raises:
        RecipeError: The ratio is out of range, or a layer is unknown.
    """
    if not 0 <= ratio < 1:
        raise RecipeError("a ratio in [0, 1)", repr(ratio), "correct the recipe")
    groups = removable(channels, scores, keep)
    gone = _lowest_of_each(groups, scores, ratio) if per_layer else _lowest_of_all(groups, scores, ratio)
    chosen = {}
    for group in groups:
        count = _count(group, gone[group.name], multiple)
        if count:
            chosen[group.name] = lowest(scores[group.name], count)
    return chosen


def removable(channels: Channels, scores: Scores, keep: Iterable[str] = ()) -> list[Group]:
    """Return the groups that may lose units: those with scores that give no output of a layer to keep.

    Args:
        channels: Units that can be removed.
        scores: Scores of all units, by group.
        keep: Names of layers whose outputs are kept whole; a name stands for all layers below it too.

    Raises:
        RecipeError: A layer is unknown.
    """
    held = _held(channels, list(keep))
    return [group for group in channels.groups if group.name in scores and group.name not in held]


def most(group: Group) -> int:
    """Return the largest number of units that a group may lose: a share of :data:`MOST`, and never all."""
    return min(part_of(len(group), MOST), len(group) - 1)


def part_of(count: int, share: float) -> int:
    """Return the whole number of units in a share; 0.29 of 100 is 29, though the float product falls short of it."""
    return math.floor(count * share + _ROUNDING)


def lowest(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the positions of the units with the lowest scores, ascending."""
    return np.sort(np.argsort(scores, kind="stable")[:count])


def _lowest_of_each(groups: list[Group], scores: Scores, ratio: float) -> dict[str, int]:
    return {group.name: part_of(len(group), ratio) for group in groups}


def _lowest_of_all(groups: list[Group], scores: Scores, ratio: float) -> dict[str, int]:
    """Return how many units of each group are among the lowest of all, without units that have to stay."""
    open_to_removal = [np.sort(scores[group.name])[: most(group)] for group in groups]
    owner = np.repeat(np.arange(len(groups)), [len(group_scores) for group_scores in open_to_removal])
    number = part_of(sum(len(group) for group in groups), ratio)
    order = np.argsort(np.concatenate([*open_to_removal, np.zeros(0)]), kind="stable")[:number]
    counts = np.bincount(owner[order], minlength=len(groups))
    return {group.name: int(count) for group, count in zip(groups, counts, strict=True)}


def _count(group: Group, most_wanted: int, multiple: int) -> int:
    """Return how many units to remove, so that the rest is a multiple of a number, and at least one."""
    number_removed = max(len(group) - most_wanted, len(group) - most(group))
    if len(group) % multiple == 0:
        number_removed = -(-number_removed // multiple) * multiple
    return len(group) - number_removed


def _held(channels: Channels, keep: list[str]) -> set[str]:
    """Return the groups that give outputs of these layers."""
    propagation = channels.propagation
    layers = {name.rpartition(".")[0] for name in propagation.tensors}
    for name in keep:
        if not any(_below(layer, name) for layer in layers):
            raise RecipeError(
                "the name of a layer to keep",
                f"'{name}'",
                did_you_mean(name, layers) or "see compress inspect for the names",
            )
    held = set()
    for group in channels.groups:
        for member in group.members:
            layer, _, tensor = member.tensor.rpartition(".")
            axis = OUTPUT_AXIS.get(type(propagation.graph.get_submodule(layer)), 0)
            gives = member.axis == axis or not tensor.startswith("weight")
            if gives and any(_below(layer, name) for name in keep):
                held.add(group.name)
    return held


def _below(layer: str, name: str) -> bool:
    return layer == name or layer.startswith(f"{name}.")
