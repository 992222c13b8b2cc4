"""The choice of each group's width under a latency budget, so that as much importance as possible is kept.

HALP: Shen et al. 2021, arXiv 2110.10811. What a group's width saves depends on the widths of its neighbours, so the
budget is approached in rounds: in each, savings are taken around the widths of now, a knapsack chooses the next ones,
and the budget is a little smaller. Widths are only those at which the target gets faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.errors import RecipeError
from compress.pruning.groups import Channels, Group
from compress.pruning.importance import Scores
from compress.pruning.knapsack import cheapest
from compress.pruning.network_latency import NetworkLatency, Operator
from compress.pruning.selection import lowest, most, removable
from compress.pruning.staircase import NOISE, steps, widths

#: Shares of their units that all groups are tried at together, where each by itself gets no faster.
_TOGETHER = tuple(eighths / 8 for eighths in range(7, 0, -1))

#: Rounds from the full latency to the budget, and more of them if the last ones saved less than they promised.
_ROUNDS = 8
_MORE_ROUNDS = 16

#: Widths of one group that are looked at.
_MOST_WIDTHS = 64


class OutOfReachError(RecipeError):
    """No widths are found with so small a share of the latency.

    Attributes:
        fastest: The fastest widths that were found; None after unpickling.
    """

    fastest: Widths | None = None


@dataclass(frozen=True)
class Widths:
    """Widths of all groups after pruning.

    Attributes:
        units: Positions of the units to remove, by the group's name; groups that lose none are left out.
        share: Predicted latency, as a share of the unpruned network's, in (0, 1].
        steps: Widths at which the target gets faster, by group, with its neighbours at their final widths.
    """

    units: Mapping[str, NDArray[np.int64]]
    share: float
    steps: Mapping[str, tuple[int, ...]]


def choose_widths(
    channels: Channels, scores: Scores, latency: NetworkLatency, share: float, *, keep: Iterable[str] = ()
) -> Widths:
    """Choose the units to remove for a latency.

    Args:
        channels: Units that can be removed.
        scores: Scores of all units, by group, ≥ 0; a group without scores is kept.
        latency: Latency of the network at any widths.
        share: Share of the unpruned latency that may be left, in (0, 1].
        keep: Names of layers whose outputs are kept whole; a name stands for all layers below it too.

    Raises:
        OutOfReachError: Not even the fastest widths found reach the share.
        RecipeError: The share is out of range, or a layer is unknown.
    """
    if not 0 < share <= 1:
        raise RecipeError("a share of the latency in (0, 1]", repr(share), "correct the recipe")
    plan = _Plan(removable(channels, scores, keep), scores, latency)
    for number in range(1, _ROUNDS + _MORE_ROUNDS + 1):
        if number > _ROUNDS and plan.share() <= share:
            break
        plan.narrow(max(share, share ** (number / _ROUNDS)))
    if plan.share() > share:
        plan.narrow_together(share)
    if plan.share() > share:
        raise out_of_reach(share, plan.share(), plan.result())
    plan.widen(share)
    return plan.result()


def out_of_reach(wanted: float, reached: float, fastest: Widths) -> OutOfReachError:
    """Return the error for a share of the latency that no widths reach.

    Args:
        wanted: The share that was asked for, in (0, 1].
        reached: Share of the fastest widths that were found.
        fastest: These widths.
    """
    error = OutOfReachError(
        f"a latency of {wanted:g} of the unpruned one",
        f"{reached:.2f} at the fastest widths found",
        "ask for a larger share, or keep fewer layers",
    )
    error.fastest = fastest
    return error


class _Plan:
    """Widths of all groups, on their way to the budget."""

    def __init__(self, groups: list[Group], scores: Scores, latency: NetworkLatency) -> None:
        self._groups = {group.name: group for group in groups}
        self._scores = {name: np.sort(scores[name]) for name in self._groups}
        self._order = scores
        self._latency = latency
        self._noise = NOISE if latency.table.source == "measured" else 0.0  # estimates have none
        self._kept = {group.name: len(group) for group in groups}
        self._touched: dict[str, list[Operator]] = {name: [] for name in self._groups}
        for operator in latency.operators:
            for name in operator.groups & self._groups.keys():
                self._touched[name].append(operator)

    def share(self) -> float:
        """Return the latency share of the whole network at its present widths."""
        return self._latency.share(self._shares({}))

    def narrow(self, share: float) -> None:
        """Narrow the present widths to a latency by one knapsack, from the savings of each group alone."""
        demand = self.share() - share
        if demand <= 0 or not self._groups:
            return
        options, savings, losses = [], [], []
        for name in self._groups:
            sizes = self._steps(name)
            costs = [self._cost(name, size) for size in sizes]
            options.append(sizes)
            savings.append([max(0.0, costs[-1] - cost) for cost in costs])
            losses.append([self._loss(name, size) for size in sizes])
        chosen = cheapest(savings, losses, demand)
        if chosen is None:  # Not even all together; the next round sees what the fastest ones gave.
            chosen = [0] * len(options)
        for name, sizes, number in zip(self._groups, options, chosen, strict=True):
            self._kept[name] = sizes[number]

    def narrow_together(self, share: float) -> None:
        """Narrow all groups to one share of their units, the largest that reaches a latency, or else the fastest.

        A layer may get faster only where its inputs and outputs are both reduced, which belong to different groups.
        From there each group in turn goes to its own fastest width.
        """
        best, least = dict(self._kept), self.share()
        for part in _TOGETHER:
            for name, group in self._groups.items():
                narrow = max(len(group) - most(group), 1)
                sizes = [size for size in widths(len(group), _MOST_WIDTHS) if size >= narrow]
                self._kept[name] = min(sizes, key=lambda size: abs(size - part * len(group)))
            if self.share() < least:
                best, least = dict(self._kept), self.share()
            if least <= share:
                break
        self._kept = best
        if least > share:
            for name, group in self._groups.items():
                self._kept[name] = self._steps(name, len(group))[0]

    def widen(self, share: float) -> None:
        """Give back what the last knapsack saved beyond the budget, units with most importance per latency first."""
        while True:
            spare = share - self.share()
            best, best_worth = None, 0.0
            for name, group in self._groups.items():
                wider = next(
                    (size for size in self._steps(name, len(group)) if size > self._kept[name]), None
                )
                if wider is None:
                    continue
                cost = self._cost(name, wider) - self._cost(name, self._kept[name])
                worth = (self._loss(name, self._kept[name]) - self._loss(name, wider)) / max(cost, 1e-9)
                if cost <= spare and worth > best_worth:
                    best, best_worth = (name, wider), worth
            if best is None:
                return
            self._kept[best[0]] = best[1]

    def result(self) -> Widths:
        """Return the decided widths."""
        units = {
            name: lowest(self._order[name], len(group) - self._kept[name])
            for name, group in self._groups.items()
            if self._kept[name] < len(group)
        }
        stairs = {name: self._steps(name, len(group)) for name, group in self._groups.items()}
        return Widths(units, self.share(), stairs)

    def _steps(self, name: str, widest: int | None = None) -> tuple[int, ...]:
        """Return the widths of a group at which the network gets faster, from the narrowest to the present one."""
        group = self._groups[name]
        least, now = len(group) - most(group), widest or self._kept[name]
        sizes = [size for size in widths(len(group), _MOST_WIDTHS) if least <= size < now]
        return steps([*sizes, now], [self._cost(name, size) for size in (*sizes, now)], self._noise)

    def _cost(self, name: str, width: int) -> float:
        """Return the latency of the operators that shrink with a group."""
        return self._latency.share(self._shares({name: width}), self._touched[name])

    def _loss(self, name: str, width: int) -> float:
        return float(self._scores[name][: len(self._groups[name]) - width].sum())

    def _shares(self, changed: Mapping[str, int]) -> dict[str, float]:
        return {
            name: changed.get(name, self._kept[name]) / len(group) for name, group in self._groups.items()
        }
