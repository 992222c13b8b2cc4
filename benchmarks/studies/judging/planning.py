"""Plan of the damage that is done to a network: a sweep of levels, and many builds where the true drop is small.

A judge has to be right about drops of 0 to 3 points. At which level those lie differs from network to network, so each
sweep is followed by levels between its own, where drops that are wanted should lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks.studies.judging import damage
from benchmarks.studies.judging.damage import Damage
from benchmarks.studies.judging.subjects import Subject

#: Drops that are aimed at, in points, and how many seeds each.
_AIMS, _SEEDS = (0.4, 0.9, 1.6, 2.8), 3
#: An error that grows by a percent has hardly changed.
_PER_ERROR = 3.0
_RUINED = 25.0  # points


def damages(subject: Subject, epochs: Path, drop_of: Callable[[Damage], float]) -> Iterator[Damage]:
    """All damage, in order.

    Args:
        subject: The network.
        epochs: Directory of its states after each epoch.
        drop_of: Makes a build and tells its drop.
    """
    scale = _PER_ERROR if subject.truth.lower_is_better else 1.0
    aims = [scale * each for each in _AIMS]
    levels = [0.01 * 2**step for step in range(8)]
    yield from swept(damage.noise, levels, aims, _SEEDS, drop_of)
    for where in (0.0, 0.5):
        make = partial(damage.activations, where)
        yield from swept(make, [0.05 * 2.5**step for step in range(5)], [aims[1], aims[2]], 1, drop_of)
    yield from (damage.rounding(bits, per_channel=False) for bits in (8, 6, 5, 4, 3))
    yield from (damage.rounding(bits, per_channel=True) for bits in (5, 4, 3, 2))
    if subject.name != "fashion_gru":
        for seed, count in enumerate((1, 1, 2, 4, 8)):
            yield damage.channels(count, seed)
    yield from _on_outputs(subject)
    done = subject.schedule.epochs
    yield from (
        damage.earlier(epoch, epochs)
        for epoch in sorted({done - 1, done - 2, math.ceil(done * 0.6), math.ceil(done * 0.3)})
        if 1 <= epoch < done
    )


def _on_outputs(subject: Subject) -> Iterator[Damage]:
    """Damage behind the last layer, much of which nobody who uses the outputs would notice."""
    axis = 1 if subject.axis is None else subject.axis
    yield from (damage.scaled(level) for level in (0.5, 0.8, 1.25, 2.0))
    if subject.kind not in ("probabilities", "map") or subject.form == "logits":
        yield damage.offset(0.5)
    single = subject.name == "scene_shoes"
    for index, level in ((0, 0.1), (0, 0.3), (0 if single else 3, 0.2), (0 if single else 3, 0.6), (0, 1.2)):
        yield damage.shifted(axis, index, level)
    yield damage.lost(axis, 0)
    if not single:
        yield damage.lost(axis, 3)
    if subject.kind == "embedding":
        yield damage.turned(1)


def swept(
    make: Callable[[float, int], Damage],
    levels: Sequence[float],
    aims: Sequence[float],
    seeds: int,
    drop_of: Callable[[Damage], float],
) -> Iterator[Damage]:
    """A level after the other until the network is ruined; then those that should cost what is aimed at."""
    found: list[tuple[float, float]] = []
    for level in levels:
        each = make(level, 0)
        yield each
        found.append((level, drop_of(each)))
        if found[-1][1] > _RUINED:
            break
    for aim in aims:
        between = _level_for(found, aim)
        if between is not None:
            yield from (make(round(between, 4), seed) for seed in range(1, seeds + 1))


def _level_for(found: Sequence[tuple[float, float]], aim: float) -> float | None:
    """The level at which the drop passes ``aim``, by a straight line between logarithms; None where it never does."""
    for (low, drop_low), (high, drop_high) in pairwise(found):
        if drop_low <= aim < drop_high:
            share = (math.sqrt(aim) - math.sqrt(max(drop_low, 0))) / (
                math.sqrt(drop_high) - math.sqrt(max(drop_low, 0))
            )
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return None
