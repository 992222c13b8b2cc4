"""Writing of files, with errors for the user where the system refuses it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from compress.errors import OutputError


@contextlib.contextmanager
def written_safely(path: Path) -> Iterator[None]:
    """Turn a failed write inside the block into an error for the user; the block only writes.

    Raises:
        OutputError: Writing below ``path`` failed.
    """
    try:
        yield
    except OSError as error:
        wanted, todo = _FULL if error.errno in _NO_ROOM else ("a place to write to", _ELSEWHERE)
        raise OutputError(wanted, f"{path}: {error.strerror or error}", todo) from error


_ELSEWHERE = "make that place ready, or choose another place"
_FULL = ("space and permission to write", "free space or permissions there, or choose another place")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}
