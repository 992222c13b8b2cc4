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
    names = sorted({module.name for module in pkgutil.iter_modules(__path__)} - {"base", "kept_results"})
    return {
        name: f"{__name__}.{name}:{''.join(part.capitalize() for part in name.split('_'))}" for name in names
    }


_is_subclass = subclass_of("compress.techniques.base:Technique")


def _problem(name: str, candidate: object) -> str | None:
    problem = _is_subclass(name, candidate)
    if problem is None and not dataclasses.is_dataclass(candidate):
        return (
            f"{getattr(candidate, '__name__', candidate)}, which is no dataclass: its fields are the settings"
        )
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
    """Return the name of every technique: the built-in ones, sorted, then those of other distributions."""
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
    named after the steps up to its own, so that recipes that begin alike share what they trained; with a cache, named
    after all that the step depends on, so that runs share it.

    Raises:
        RecipeError: See :func:`load_technique`; every step is checked before the first is applied.
        CompressError: A technique fails.
    """
    from compress.techniques import kept_results

    techniques = [load_technique(step) for step in recipe.steps]
    done: Counter[str] = Counter()
    task = context.task
    for count, (step, technique) in enumerate(zip(recipe.steps, techniques, strict=True), start=1):
        done[step.technique] += 1
        steps = recipe.steps[:count]
        step_context = dataclasses.replace(context, task=task, reports={}, directory=_kept_in(context, steps))
        cached = kept_results.directory_of(network, steps, step_context)
        if cached is not None:
            step_context.directory = cached
        # An ONNX model that a step has made is known by the user's file and the steps, and not by its content.
        if not network.trainable and count > 1:
            cached = None
        number = done[step.technique]
        suffix = "" if number == 1 else f"-{number}"
        try:
            network = _applied(technique, network, step_context, cached)
            task = step_context.task
        finally:  # One that refuses has told why.
            context.reports.update(
                {f"{name}{suffix}": report for name, report in step_context.reports.items()}
            )
    return network


def _applied(technique: Technique, network: Network, context: Context, cached: Path | None) -> Network:
    """Apply a technique, or return what it made before, from the directory in the cache where that is kept."""
    if cached is None or technique.result_follows(context) is None:
        return technique.apply(network, context)
    from compress.techniques import kept_results

    result = kept_results.kept_result(cached, network, technique, context)
    if result is None:
        result = technique.apply(network, context)
        kept_results.keep_result(cached, network, result, technique, context)
    return result


def _kept_in(context: Context, steps: tuple[Step, ...]) -> Path | None:
    from compress.recipe import Recipe

    return None if context.directory is None else context.directory / Recipe("", steps).identity
