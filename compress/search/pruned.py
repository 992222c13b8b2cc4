"""Proposals of pruned builds: how small a share of the latency a network bears is found by halving what lies between.

They come last, since each takes minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.recipe import Recipe, Step
from compress.search.decision import choose
from compress.search.limits import Limits
from compress.search.proposal import Proposal, best_time, keeps_accuracy, points, time_of

if TYPE_CHECKING:
    from compress.search.run_directory import RunDirectory

#: The share that is tried first, the next one where it kept the accuracy, and where it did not.
_FIRST, _SHORTER, _LONGER = 0.5, 0.35, 0.7

#: Shares that are tried at the most: each has a training of its own.
_MOST = 4

#: A share between is tried only where the ones around it are so many times apart.
_APART = 1.25

#: Share of the best build's time that a further share must promise to save.
_WORTH = 0.05


def proposals_of_pruned(
    backend: str | None, limits: Limits, trains: bool, tune: int | None = None
) -> Iterator[Proposal]:
    """Yield recipes with fewer channels.

    Trained, to half of the latency first; then to less or more of it, as accuracy was kept or not. What kept it is
    also built as the fastest unpruned build was. Untrained, only what the margin allows.

    Args:
        backend: Back end of the builds; None for the target's own.
        limits: The user's limits.
        trains: Whether there is data to train on.
        tune: Number of trainings that search the settings of each training; None searches none.
    """
    if trains:
        yield from _PrunedAndTrained(backend, limits, tune).proposals()
    elif limits.max_drop > 0:
        settings = {"untrained_drop": limits.max_drop, "importance": "hessian_diagonal", "seconds": 10.0}
        yield Proposal(Recipe("pruned", (Step("prune", settings),), backend=backend))


class _PrunedAndTrained:
    """Pruned builds that are trained. Where the fastest unpruned build is in int8, widths are the fastest in int8.

    The plain build then has the same widths, so that both share one training.

    Args:
        backend: Back end of the builds; None for the target's own.
        limits: The user's limits.
        tune: Number of trainings that search the settings of each training; None searches none.
    """

    def __init__(self, backend: str | None, limits: Limits, tune: int | None) -> None:
        self._backend, self._limits = backend, limits
        self._train: dict[str, Any] = {"epoch_samples": 8192, **({} if tune is None else {"tune": tune})}
        self._unpruned: Recipe | None = None  # the fastest one, known once the first pruned build is due
        self._shares: list[float] = []  # tried so far, in their order
        self._over = False

    def proposals(self) -> Iterator[Proposal]:
        """Yield each share of the latency, plain and as the fastest unpruned build."""
        loses_little = f"loses no more than {points(self._limits)}"
        half, shorter, longer = (
            _to_latency(share, self._backend, {}, self._train) for share in (_FIRST, _SHORTER, _LONGER)
        )
        either = replace(shorter, name=f"{shorter.name} or {longer.name.removeprefix('pruned-')}")
        between = replace(half, name="pruned-…x")
        yield Proposal(half, decide=self._first)
        yield self._built_as_the_fastest(half)
        yield Proposal(either, f"{_SHORTER:g} if {half.name} {loses_little}, else {_LONGER:g}", self._next)
        yield self._built_as_the_fastest(either)
        yield Proposal(
            between,
            f"if a faster build may come of it: up to {_MOST - 2} shares smaller than one that kept the accuracy, "
            "each also built as the fastest",
            self._further,
            most=2 * (_MOST - 2),
        )

    def _first(self, run: RunDirectory) -> Recipe:
        self._unpruned = _fastest(run, self._limits)
        self._shares = [_FIRST]
        return self._plain(_FIRST)

    def _next(self, run: RunDirectory) -> Recipe | None:
        """Return the plain build of the share to try next; None where none promises to be worth its time."""
        share = None if self._over else self._following(run)
        if share is None:
            self._over = True
            return None
        self._shares.append(share)
        return self._plain(share)

    def _further(self, run: RunDirectory) -> Recipe | None:
        """Return the last share's build as the fastest where that is still to be tried, else the next share's."""
        last = self._shares[-1]
        built = self._as_the_fastest(self._plain(last)) if self._is_kept(last, run) else None
        if built is not None and run.find(built) is None:
            return built
        return self._next(run) if len(self._shares) < _MOST else None

    def _following(self, run: RunDirectory) -> float | None:
        smallest_kept = min((share for share in self._shares if self._is_kept(share, run)), default=None)
        lost = max((share for share in self._shares if not self._is_kept(share, run)), default=None)
        if smallest_kept is None:
            return _LONGER if len(self._shares) == 1 else None
        if lost is None:
            share = round(smallest_kept * _SHORTER / _FIRST, 2)
        elif smallest_kept / lost > _APART:
            share = round(math.sqrt(smallest_kept * lost), 2)
        else:
            return None
        return share if len(self._shares) == 1 or self._is_worth(share, smallest_kept, run) else None

    def _is_worth(self, share: float, share_kept: float, run: RunDirectory) -> bool:
        """Whether builds of a share promise to be faster than the best one.

        Args:
            share: The share in question.
            share_kept: A share that was built and kept the accuracy; times go in a line from the unpruned network to
                it.
            run: Run with all measurements so far.
        """
        plain = self._plain(share_kept)
        promised = []
        for unpruned, pruned in ((None, plain), (self._unpruned, self._as_the_fastest(plain))):
            if pruned is not None and keeps_accuracy(run, self._limits, pruned):
                unpruned_time, time = self._time(unpruned, run), self._time(pruned, run)
                promised.append(time - (unpruned_time - time) * (share_kept - share) / (1 - share_kept))
        return min(promised, default=math.inf) < (1 - _WORTH) * best_time(run, self._limits)

    def _time(self, recipe: Recipe | None, run: RunDirectory) -> float:
        """Return the time over fp32's of the build of a recipe; 1 for None, which is fp32 itself."""
        entry = None if recipe is None else run.find(recipe)
        return 1.0 if entry is None else time_of(entry, self._limits)

    def _is_kept(self, share: float, run: RunDirectory) -> bool:
        return keeps_accuracy(run, self._limits, self._plain(share))

    def _plain(self, share: float) -> Recipe:
        fastest = self._unpruned
        int8 = fastest is not None and fastest.backend == self._backend and _ends_in_int8(fastest)
        further = {"timing_precision": "int8"} if int8 else {}
        return _to_latency(share, self._backend, further, self._train)

    def _as_the_fastest(self, pruned: Recipe) -> Recipe | None:
        fastest = self._unpruned
        if fastest is None:
            return None
        name = f"{pruned.name}-{fastest.name}"
        return Recipe(name, (*pruned.steps, *fastest.steps), backend=fastest.backend, session=fastest.session)

    def _built_as_the_fastest(self, plain: Recipe) -> Proposal:
        def decide(run: RunDirectory) -> Recipe | None:
            if self._over or not self._is_kept(self._shares[-1], run):
                return None
            return self._as_the_fastest(self._plain(self._shares[-1]))

        return Proposal(
            replace(plain, name=f"{plain.name}, as the fastest"),
            f"if that loses no more than {points(self._limits)}: pruned alike, and built as the fastest build before",
            decide,
        )


def _ends_in_int8(recipe: Recipe) -> bool:
    """Whether activations are int8: layers then get faster at other widths."""
    return any(
        step.technique in ("quantize", "quantize_dynamic", "quantize_mixed", "qat") for step in recipe.steps
    )


def _to_latency(share: float, backend: str | None, further: dict[str, str], train: dict[str, Any]) -> Recipe:
    prune = Step("prune", {"latency_share": share, "importance": "hessian_diagonal", **further})
    return Recipe(f"pruned-{share:g}x", (prune, Step("distill", train)), backend=backend)


def _fastest(run: RunDirectory, limits: Limits) -> Recipe | None:
    """Return the fastest candidate that beats the original so far; None where none does."""
    chosen = choose(run.candidates, limits).candidate
    return None if chosen is None or chosen.recipe.origin == "network" else chosen.recipe
