"""Reading of files that the user names: only regular files, up to a size limit."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: JSON that people give: profiles with the outcomes of many samples, annotations of many images.
MOST_BYTES = 1 << 30


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file; a pipe or a device, whose reading may never end, is refused.

    Args:
        path: The file; links are followed.
        most: Largest size allowed, in bytes.

    Raises:
        OSError: The file cannot be read, is no regular file, or is larger.
        ValueError: The name contains a NUL.
    """
    with opened_file(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most / 1e6:.0f} MB")
        return file.read(most)


@contextmanager
def opened_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Raises:
        OSError: The file cannot be read, or is no regular file.
        ValueError: The name contains a NUL.
    """
    # Without O_NONBLOCK, to open a pipe waits until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is {'a directory' if stat.S_ISDIR(mode) else 'no regular file'}")
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read a regular file as UTF-8 text.

    Raises:
        OSError: See :func:`read_bytes`.
        ValueError: The content is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8")
