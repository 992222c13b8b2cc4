"""Compilers and runtimes, one file each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from compress.target.backends import BACKENDS

if TYPE_CHECKING:
    from compress.backends.base import Artifact, Backend
    from compress.backends.session_options import SessionOptions


def load_backend(name: str) -> Backend:
    """Return the back end of that name: one of ours, or an entry point of the group ``compress.backends``.

    Raises:
        UnavailableError: There is none of that name, or what provides it cannot be imported.
    """
    return BACKENDS.load(name)()


def installed(name: str) -> bool:
    """Whether the runtime of a back end is on this machine.

    Raises:
        UnavailableError: There is no back end of that name.
    """
    return load_backend(name).installed()


def sleeping(artifact: Artifact) -> Artifact:
    """Return the artifact with threads that sleep while they wait, for a session beside others in one process.

    An artifact of a runtime without such an option is returned as it is.
    """
    if session_options_of(artifact).spinning is None:
        return artifact
    return replace(artifact, options={**artifact.options, "spinning": False})


def session_options_of(artifact: Artifact) -> SessionOptions:
    """Return the session options of a build as its back end's record.

    Raises:
        RecipeError: A value is of another type than its option, or out of range.
    """
    return load_backend(artifact.backend).session_options.read(artifact.options)
