"""Back ends that compete for a target, and their session options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.backends import installed, load_backend
from compress.backends.providers import how_to_get, is_in_no_common_package
from compress.backends.tried_providers import tried
from compress.core.suggestions import did_you_mean
from compress.errors import RecipeError, UnavailableError

if TYPE_CHECKING:
    from compress.backends.base import Artifact
    from compress.recipe import Recipe
    from compress.search.run_directory import RunDirectory
    from compress.target.target import Target


@dataclass(frozen=True)
class CompetingBackends:
    """The back ends of a run. The original network runs in the target's own, whether that competes or not.

    Attributes:
        names: Names of the back ends that compete.
        providers: ONNX Runtime's execution providers that compete beside the target's own.
        notes: Notes on the other back ends, one line each.
    """

    names: tuple[str, ...]
    providers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def competing_backends(target: Target, wanted: Sequence[str] = ()) -> CompetingBackends:
    """Return the back ends that compete for a target.

    Args:
        target: Target, which names its own back end and further ones.
        wanted: Back ends that the user restricts the run to; empty takes all that are installed.

    Raises:
        TargetError: The target has no such back end.
        UnavailableError: A back end that was asked for is not installed, or would run on another machine.
    """
    for name in wanted:
        _check_usable(name, target)
    providers, lacking = _providers(target) if not wanted or "onnxruntime" in wanted else ((), ())
    if wanted:
        listed = (target.backend, *target.further_backends)
        names = tuple(dict.fromkeys((*(name for name in listed if name in wanted), *wanted)))
        return CompetingBackends(names, providers, lacking)
    further = {name: installed(name) for name in target.further_backends} if target.here else {}
    return CompetingBackends(
        names=(target.backend, *(name for name, here in further.items() if here)),
        providers=providers,
        notes=(
            *(
                f"{name} is not installed; {load_backend(name).how_to_install()} adds it to the competition"
                for name, here in further.items()
                if not here
            ),
            *lacking,
        ),
    )


def _providers(target: Target) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the installed ONNX Runtime's execution providers, and a sentence about each missing one."""
    if not (target.here and target.further_providers and target.backend == "onnxruntime"):
        return (), ()
    here, idle = tried()
    lacking = [
        name for name in target.further_providers if name not in here and not is_in_no_common_package(name)
    ]
    return (
        tuple(name for name in target.further_providers if name in here),
        tuple(
            f"no session opens in the {name} of this ONNX Runtime (a library of CUDA, cuDNN or TensorRT is missing, "
            "or of another release): it does not compete"
            if name in idle
            else f"this ONNX Runtime has no {name}: it does not compete; {how_to_get(name)}"
            for name in lacking
        ),
    )


def check_sessions(recipes: Iterable[Recipe], target: Target) -> None:
    """Check that the back end and the session options that recipes name exist.

    Raises:
        TargetError: The target has no such back end.
        UnavailableError: The back end is not installed, or would run on another machine.
        RecipeError: The back end has no such session option, or its value is of another type or out of range.
    """
    for recipe in recipes:
        if recipe.backend is not None:
            _check_usable(recipe.backend, target)
        if recipe.session:
            backend = load_backend(recipe.backend or target.backend)
            default_options = backend.default_options(target)
            for key in recipe.session:
                if key not in default_options:
                    wanted = f"a session option of {backend.name} ({', '.join(default_options)})"
                    raise RecipeError(
                        wanted, f"'{key}' in {recipe.name}", did_you_mean(key, default_options) or "remove it"
                    )
            backend.session_options.read(recipe.session)


def tuned_options(artifact: Artifact, run: RunDirectory) -> Mapping[str, Any] | None:
    """Return the fastest session options of the first build in a back end; None before there is one.

    Options that its recipe insisted on are left out: they are that recipe's alone.

    Args:
        artifact: Build that the options are for; those of another execution provider would mean nothing to it.
        run: Run with all measurements so far.
    """
    for entry in run.candidates:
        if entry.profile is not None and entry.profile.backend == artifact.backend:
            options = entry.profile.options
            if options.get("provider") != artifact.options.get("provider"):
                continue
            return {key: value for key, value in options.items() if key not in entry.recipe.session}
    return None


def _check_usable(name: str, target: Target) -> None:
    target.for_backend(name)
    if name != target.backend and not target.here:
        raise UnavailableError(
            f"the back end '{name}' where its builds run",
            f"{target.name}, which is another machine",
            "run compress there, for a target that is detected (compress targets)",
        )
    if name != target.backend and not installed(name):
        todo = load_backend(name).how_to_install()
        raise UnavailableError(f"the back end '{name}'", "it is not installed", todo)
