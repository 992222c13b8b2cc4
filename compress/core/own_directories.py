"""Directories that compress makes beside the user's files, and reuses or deletes only if it made them itself.

Each carries a mark that only this user's compress can write: a keyed hash of what the directory is on disk. A folder
that happens to have the name, or comes with somebody's repository, has none, and is neither believed nor deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from compress.core.files import written_safely
from compress.core.places import key_path
from compress.errors import OutputError

#: The file that holds the mark.
MARK = ".compress"
#: The file that a process locks while it works in the directory.
LOCK = "lock"


def own_directory(path: Path) -> Path:
    """Make a directory, or take one that this user's compress made before.

    Args:
        path: The directory; an empty one is taken too.

    Returns:
        ``path``.

    Raises:
        OutputError: Something else is there, or the directory cannot be made.
    """
    with written_safely(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
        if not is_own(path):
            if not _may_be_taken(path):
                raise OutputError(
                    "a directory that compress made, for what is not finished",
                    f"{path}, which it did not make",
                    "move it away, or choose another --out",
                )
            _mark(path)
    return path


@contextlib.contextmanager
def kept_until_done(path: Path, *, alone: bool = True) -> Iterator[Path]:
    """Make a directory of our own that stays when the block fails, unless it is empty.

    Args:
        path: The directory; see :func:`own_directory`.
        alone: Whether to keep other processes out; False for processes that work together with one that does.

    Raises:
        OutputError: Another process works in it, or see :func:`own_directory`.
    """
    lock = locked(path) if alone else None
    if lock is None:  # the process that it works with marks and locks it
        with written_safely(path):
            path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                if {file.name for file in path.iterdir()} <= {LOCK, MARK}:
                    remove_own(path)
            os.close(lock)  # the last of all: who waits for it finds nothing half removed


def locked(directory: Path) -> int:
    """Make a directory of our own, and keep every other process out of it.

    Args:
        directory: The directory; see :func:`own_directory`.

    Returns:
        The open file of the lock; closing it lets the next one in.

    Raises:
        OutputError: Another process works in it, or see :func:`own_directory`.
    """
    while True:
        own_directory(directory)
        with written_safely(directory):
            lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise OutputError(
                "a directory no other run is using",
                f"{directory}: locked by another compress",
                "wait for it, or choose another --out",
            ) from error
        if _is_there(directory / LOCK, lock):
            return lock
        os.close(lock)  # whoever had it has removed it meanwhile


def _is_there(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except FileNotFoundError:
        return False


def is_own(path: Path) -> bool:
    """Whether a directory exists and carries the mark of this user's compress."""
    try:
        if not _is_users(path, stat.S_ISDIR) or not _is_users(path / MARK, stat.S_ISREG):
            return False
        return hmac.compare_digest((path / MARK).read_bytes().strip(), _mark_of(path))
    except OSError:
        return False


def remove_own(path: Path) -> None:
    """Delete a directory that compress made; anything else of that name stays."""
    if is_own(path):
        shutil.rmtree(path, ignore_errors=True)


def _may_be_taken(path: Path) -> bool:
    return _is_users(path, stat.S_ISDIR) and not any(path.iterdir())


def _is_users(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Whether a path is of a kind itself, not a link, and belongs to this user."""
    status = path.lstat()
    return is_kind(status.st_mode) and status.st_uid == os.geteuid()


def _mark(path: Path) -> None:
    scratch = path / f"{MARK}.{secrets.token_hex(4)}"
    scratch.write_bytes(_mark_of(path) + b"\n")
    scratch.replace(path / MARK)


def _mark_of(path: Path) -> bytes:
    """Return the mark of a directory: its number on the disk under the user's key, so that a copy has another mark."""
    return hmac.new(_key(), str(path.stat().st_ino).encode(), hashlib.sha256).hexdigest().encode()


def _key() -> bytes:
    """Return the user's key, made at the first use; empty where it cannot be stored."""
    path = key_path()
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            scratch = path.with_name(f"key.{secrets.token_hex(4)}")
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):
                os.link(scratch, path)  # whoever comes first has made it
            scratch.unlink()
        return path.read_bytes()
    except (OSError, RuntimeError):
        return b""
