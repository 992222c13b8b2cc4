"""Which recipes to try, in which order, when to stop.

The generator is asked for the next recipe only after the last one was recorded, so what it proposes may follow from
what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from compress.choice import Limits, inside_margin
from compress.recipe import Recipe, Step

if TYPE_CHECKING:
    from compress.history import History
    from compress.target import Target

#: The network as it is; always the first candidate and what every other one is compared with.
ORIGINAL = Recipe("fp32")


def propose(
    target: Target, limits: Limits, history: History, recipes: Sequence[Recipe] = ()
) -> Iterator[Recipe]:
    """Recipes for a target, cheapest and likeliest first.

    Args:
        target: Its precisions say what is worth trying.
        limits: The margin that decides whether finer calibration is needed.
        history: What was recorded so far.
        recipes: The user's own; where there are any, these and the original are all that is tried.
    """
    yield ORIGINAL
    if recipes:
        yield from recipes
        return
    if "fp16" in target.precisions:
        yield Recipe("fp16", (Step("cast", {"precision": "float16"}),))
    if "int8" in target.precisions:
        yield from _int8(limits, history)


def most_candidates(target: Target, recipes: Sequence[Recipe] = ()) -> int:
    """How many recipes :func:`propose` gives at the most."""
    if recipes:
        return 1 + len(recipes)
    return 1 + ("fp16" in target.precisions) + 4 * ("int8" in target.precisions)


def _int8(limits: Limits, history: History) -> Iterator[Recipe]:
    whole_chains = Recipe("int8", (Step("quantize", {"scope": "all"}),))
    weights_only = Recipe("int8-matmul", (Step("quantize", {"scope": "weights-ops"}),))
    yield whole_chains
    yield weights_only
    # Other ranges are worth a try only where the error-optimal ones lost too much.
    for method in ("min-max", "percentile"):
        if _keeps_accuracy(history, limits):
            return
        yield Recipe(f"int8-{method}", (Step("quantize", {"scope": "all", "method": method}),))


def _keeps_accuracy(history: History, limits: Limits) -> bool:
    return any(
        entry.recipe.name.startswith("int8")
        and entry.profile is not None
        and entry.profile.accuracy is not None
        and inside_margin(entry.profile.accuracy.drop, limits.max_drop)
        for entry in history.candidates
    )
