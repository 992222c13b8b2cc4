"""Techniques, one file each, and how a recipe finds them."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compress.core.registry import Registry, subclass_of
from compress.core.suggestions import did_you_mean
from compress.errors import RecipeError

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.recipe import Recipe, Step
    from compress.techniques.base import Context, Technique


def _built_in() -> dict[str, str]:
    """One file each: ``low_rank`` is the class ``LowRank`` in ``low_rank.py``. No file is imported."""
    names = sorted({module.name for module in pkgutil.iter_modules(__path__)} - {"base"})
    return {
        name: f"{__name__}.{name}:{''.join(part.capitalize() for part in name.split('_'))}" for name in names
    }


_is_subclass = subclass_of("compress.techniques.base:Technique")


def _problem(name: str, found: object) -> str | None:
    problem = _is_subclass(name, found)
    if problem is None and not dataclasses.is_dataclass(found):
        return f"{getattr(found, '__name__', found)}, which is no dataclass: its fields are the settings"
    return problem


#: Every technique that a recipe can name.
TECHNIQUES: Registry[type[Technique]] = Registry(
    "technique",
    "compress.techniques",
    _built_in,
    wanted="a dataclass that inherits compress.techniques.base.Technique",
    check=_problem,
    error=RecipeError,
)


def technique_names() -> list[str]:
    """Every technique that a recipe can name: ours, sorted, then those of other distributions."""
    return TECHNIQUES.names()


def load_technique(step: Step) -> Technique:
    """Return the technique that a recipe's step names, with its settings.

    Raises:
        RecipeError: The technique or one of its settings is unknown, a setting has a wrong value, or the technique of
            another distribution cannot be imported.
    """
    kind = TECHNIQUES.load(step.technique)
    settings = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    renamed: Mapping[str, str] = getattr(kind, "RENAMED", {})
    for key in step.settings:
        if key in renamed:
            raise RecipeError(
                f"{renamed[key]} in '{step.technique}'", key, "use the new name: the old one meant two things"
            )
        if key not in settings:
            raise RecipeError(
                f"a setting of '{step.technique}' ({', '.join(sorted(settings))})",
                f"'{key}'",
                did_you_mean(key, settings) or "remove it",
            )
    return kind(**step.settings)


def apply_recipe(recipe: Recipe, network: Network, context: Context) -> Network:
    """Apply a recipe's techniques in order.

    A technique that comes again reports under its name with a number ("prune-2"). Each keeps checkpoints in a directory
    named after the steps up to its own, so that recipes that begin alike share what they trained.

    Raises:
        RecipeError: See :func:`load_technique`; every step is checked before the first is applied.
        CompressError: A technique fails.
    """
    techniques = [load_technique(step) for step in recipe.steps]
    done: Counter[str] = Counter()
    for count, (step, technique) in enumerate(zip(recipe.steps, techniques, strict=True), start=1):
        done[step.technique] += 1
        own = dataclasses.replace(context, reports={}, directory=_kept_in(context, recipe.steps[:count]))
        number = done[step.technique]
        suffix = "" if number == 1 else f"-{number}"
        try:
            network = technique.apply(network, own)
        finally:  # One that refuses has told why.
            context.reports.update({f"{name}{suffix}": report for name, report in own.reports.items()})
    return network


def _kept_in(context: Context, steps: tuple[Step, ...]) -> Path | None:
    from compress.recipe import Recipe

    return None if context.directory is None else context.directory / Recipe("", steps).identity
