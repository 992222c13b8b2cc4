"""Files that are written whole or not at all, by way of a scratch directory beside them.

A run that is killed leaves its scratch directory. Whoever writes a file there next deletes it, where it carries the
mark of this user's compress (see :mod:`compress.core.own_directories`) and nobody holds its lock, which the system lets
go of when a process ends, however it does. On a disk without such locks it stays: a directory named ``.compress-…``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from compress.core.files import written_safely
from compress.core.own_directories import is_own, own_directory, remove_own

_PREFIX = ".compress-"


@contextlib.contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """Give a scratch file that replaces a file when the block ends; nothing is left where the block fails.

    Args:
        path: The file, in a directory that exists; a link of this name is replaced, and not followed.

    Raises:
        OutputError: Writing failed.
    """
    with written_safely(path), scratch_beside(path) as scratch:
        written = scratch / path.name
        yield written
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(path)


@contextlib.contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Make a directory beside a file, on the same disk, and delete it when the block ends.

    Args:
        path: The file, in a directory that exists.

    Raises:
        OutputError: The directory cannot be made.
    """
    with written_safely(path):
        _remove_leftovers(path.parent)
        scratch = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.parent)
    with scratch as name, _locked(Path(name)):
        yield own_directory(Path(name))  # marked last: one with a mark has had its lock


def _remove_leftovers(directory: Path) -> None:
    found: list[Path] = []
    with (
        contextlib.suppress(OSError),
        os.scandir(directory) as entries,
    ):  # it may be written to and not listed
        found = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    for path in found:
        if is_own(path):
            with _locked(path) as alone:
                if alone:
                    remove_own(path)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Lock a directory until the block or the process ends; whether nobody else holds the lock."""
    descriptor: int | None = None
    alone = False
    with contextlib.suppress(OSError):  # it is gone, somebody holds it, or such a disk has no locks
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    try:
        yield alone
    finally:
        if descriptor is not None:
            os.close(descriptor)
