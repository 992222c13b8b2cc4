"""Techniques, one file each, and how a recipe finds them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from compress.core.suggestions import did_you_mean
from compress.errors import RecipeError

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.recipe import Recipe, Step
    from compress.techniques.base import Context, Technique


def technique_names() -> list[str]:
    """Return the names of all techniques that a recipe can use, sorted."""
    own = {module.name for module in pkgutil.iter_modules(__path__)} - {"base"}
    return sorted(own | {entry.name for entry in entry_points(group="compress.techniques")})


def load_technique(step: Step) -> Technique:
    """Return the technique that a recipe's step names, with its settings.

    Raises:
        RecipeError: The technique or one of its settings is unknown, or a setting has a wrong value.
    """
    kind = _technique_class(step.technique)
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


def _technique_class(name: str) -> type[Technique]:
    from compress.techniques.base import Technique

    if name not in technique_names():
        raise RecipeError(
            f"a technique ({', '.join(technique_names())})",
            f"'{name}'",
            did_you_mean(name, technique_names()) or "choose one of these",
        )
    for entry in entry_points(group="compress.techniques", name=name):
        loaded: type[Technique] = entry.load()
        return loaded
    module = importlib.import_module(f"{__name__}.{name}")
    return next(
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Technique) and member.__module__ == module.__name__
    )
