"""Compilers and runtimes, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.target.backends import BACKENDS

if TYPE_CHECKING:
    from compress.backends.base import Backend


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
