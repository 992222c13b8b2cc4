"""Files that are written whole or not at all, by way of a scratch directory beside them.

A run that is killed leaves its scratch directory. Whoever writes a file there next deletes it, where it carries the
mark of this user's compress (see :mod:`compress.core.own_directories`) and nobody holds its lock, which the system lets
go of when a process ends, however it does. On a disk without such locks it stays: a directory named ``.compress-…``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from compress.core.files import written_safely
from compress.core.own_directories import is_own, own_directory, remove_own

_PREFIX = ".compress-"
#: Bytes that are written to see whether there is room.
_PROBE = 1 << 16


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


def check_replaceable(path: Path) -> None:
    """Check that a file can be written, before the work that makes it: nothing is left, and no file is changed.

    Args:
        path: The file that is to be written later.

    Raises:
        OutputError: It is a directory, lies in none that exists or may be written to, or there is no room.
    """
    with written_safely(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(
            dir=path.parent
        ) as probe:  # without a name: nothing is left, however this ends
            probe.write(bytes(_PROBE))
            probe.flush()


@contextlib.contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Make a directory beside a file, on the same disk, and delete it when the block ends.

    Args:
        path: The file, in a directory that exists.

    Raises:
        OutputError: The directory cannot be made.
    """
    with _scratch(path.parent, path) as directory:
        yield directory


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """Make a directory for large files where temporary files lie, and delete it when the block or the process ends.

    A killed process leaves its directory, which may hold gigabytes: the next call deletes it.

    Raises:
        OutputError: The directory cannot be made.
    """
    place = Path(tempfile.gettempdir())
    with _scratch(place, place) as directory:
        yield directory


@contextlib.contextmanager
def _scratch(parent: Path, wanted: Path) -> Iterator[Path]:
    """Make a directory and delete it afterwards; where it cannot be made, ``wanted`` is told as the path."""
    with written_safely(wanted):
        _remove_leftovers(parent)
        scratch = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent)
    with scratch as name, _locked(Path(name)):
        yield own_directory(Path(name))  # marked last: one with a mark has had its lock


def _remove_leftovers(directory: Path) -> None:
    leftovers: list[Path] = []
    with (
        contextlib.suppress(OSError),
        os.scandir(directory) as entries,
    ):  # it may be written to and not listed
        leftovers = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    for path in leftovers:
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
