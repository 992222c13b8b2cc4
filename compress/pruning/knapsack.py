"""The multiple-choice knapsack: one option for each item, so that enough is saved and the loss is smallest.

The multiple-choice knapsack that HALP (arXiv 2110.10811) prunes by, solved by dynamic programming over what is saved,
as in Kellerer, Pferschy and Pisinger 2004, Knapsack Problems, chapter 11.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Parts that what has to be saved is counted in. Savings are rounded down to whole parts, so that what is found does
#: save enough; what it loses is the least possible for a demand that is larger by at most one part an item.
RESOLUTION = 2000


def cheapest(
    savings: Sequence[Sequence[float]],
    losses: Sequence[Sequence[float]],
    demand: float,
    resolution: int = RESOLUTION,
) -> list[int] | None:
    """Return the option to take for each item.

    Args:
        savings: Savings of each option, by item, ≥ 0.
        losses: Losses of each option, by item, ≥ 0.
        demand: Sum of savings that is needed.
        resolution: Number of parts that the demand is counted in, ≥ 1.

    Returns:
        The options with the least loss that save the demand, the first of equal ones; None where even the largest
        savings do not.
    """
    if demand <= 0:
        return [int(np.argmin(option_losses)) for option_losses in losses]
    # The tolerance keeps a saving of exactly some parts from losing one to rounding.
    parts = [
        np.minimum(np.floor(np.asarray(option_savings) / demand * resolution + 1e-9), resolution).astype(int)
        for option_savings in savings
    ]
    least = np.full(
        resolution + 1, np.inf
    )  # the least loss of saving at least so many parts, exactly what is above
    least[0] = 0.0
    options_taken, came_from = [], []
    for saved, lost in zip(parts, losses, strict=True):
        best = np.full(resolution + 1, np.inf)
        option = np.zeros(resolution + 1, np.int32)
        origin = np.zeros(resolution + 1, np.int32)
        for number, (more, loss) in enumerate(zip(saved.tolist(), lost, strict=True)):
            open_to = resolution - more
            _improve(best, option, origin, least[:open_to] + loss, more, number)
            top = open_to + int(np.argmin(least[open_to:]))  # everything from here on saves enough
            if least[top] + loss < best[resolution]:
                best[resolution], option[resolution], origin[resolution] = least[top] + loss, number, top
        least = best
        options_taken.append(option)
        came_from.append(origin)
    if not np.isfinite(least[resolution]):
        return None
    chosen, at = [], resolution
    for option, origin in zip(reversed(options_taken), reversed(came_from), strict=True):
        chosen.append(int(option[at]))
        at = int(origin[at])
    return chosen[::-1]


def _improve(
    best: np.ndarray, option: np.ndarray, origin: np.ndarray, candidate: np.ndarray, shift: int, number: int
) -> None:
    """Take an option wherever it loses less than the best one so far."""
    there = slice(shift, shift + len(candidate))
    better = candidate < best[there]
    best[there][better] = candidate[better]
    option[there][better] = number
    origin[there][better] = np.flatnonzero(better)
