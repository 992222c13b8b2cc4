"""Writing files, and what a person is told where the system refuses it."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from compress.errors import OutputError


@contextlib.contextmanager
def written_safely(path: Path) -> Iterator[None]:
    """Turn a failed write into an error for people; what is inside writes, and does nothing else.

    Raises:
        OutputError: Writing below ``path`` failed.
    """
    try:
        yield
    except OSError as error:
        wanted, todo = _FULL if error.errno in _NO_ROOM else ("a place to write to", _ELSEWHERE)
        raise OutputError(wanted, f"{path}: {error.strerror or error}", todo) from error


@contextlib.contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """A scratch file that takes a file's place when the block ends, on disk by then; nothing is left where it fails.

    Args:
        path: The file, in a directory that exists; a link of this name is replaced, and not followed.

    Raises:
        OutputError: Writing failed.
    """
    with written_safely(path), tempfile.TemporaryDirectory(prefix=".compress-", dir=path.parent) as scratch:
        written = Path(scratch) / path.name
        yield written
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(path)


_ELSEWHERE = "make that place ready, or choose another place"
_FULL = ("space and permission to write", "free space or permissions there, or choose another place")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}
