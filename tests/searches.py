"""Recipes that a search may try, for tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from compress.recipe import Recipe
from compress.search.limits import Limits
from compress.search.proposals import proposals
from compress.search.proposals import propose as recipes_to_try
from compress.target.target import Target


def most(
    target: Target,
    recipes: Sequence[Recipe] = (),
    backends: Sequence[str] = (),
    limits: Limits | None = None,
    **known: object,
) -> int:
    """The largest number of recipes that a search can try."""
    listed = proposals(target, limits or Limits(), recipes, backends, **known)  # type: ignore[arg-type]
    return sum(each.most for each in listed)


def propose(
    target: Target,
    limits: Limits,
    run: Any,
    recipes: Sequence[Recipe] = (),
    backends: Sequence[str] = (),
    **known: Any,
) -> Iterator[Recipe]:
    """The recipes that a search tries, each after the measurements of those before it."""
    return recipes_to_try(proposals(target, limits, recipes, backends, **known), run)
