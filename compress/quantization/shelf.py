"""Arrays kept for later: in memory as far as a budget goes, in temporary files beyond it."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.core.replacing import temporary_directory
from compress.errors import OutputError

#: Bytes that are kept in memory.
IN_MEMORY = 256 << 20


class Shelf:
    """A store for arrays; a context manager, after whose end nothing can be read any more.

    Args:
        room: Largest size of arrays in memory, in bytes.
    """

    def __init__(self, room: int = IN_MEMORY) -> None:
        self.room = room
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(temporary_directory())
        self._numbers = count()

    def __enter__(self) -> Shelf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def put(self, values: NDArray[Any]) -> Kept:
        """Store an array until the returned object is deleted.

        Raises:
            OutputError: The temporary directory has no room.
        """
        return Kept(self, values)

    def new_file(self) -> Path:
        """Return an unused path."""
        return self._folder / str(next(self._numbers))


class Kept:
    """An array on a shelf; its space is freed when nothing refers to it any more."""

    def __init__(self, shelf: Shelf, values: NDArray[Any]) -> None:
        self._shelf, self._dtype, self._shape = shelf, values.dtype, values.shape
        self._bytes = values.nbytes
        self._values: NDArray[Any] | None = None
        self._path: Path | None = None
        if self._bytes <= shelf.room:
            shelf.room -= self._bytes
            self._values = values
            return
        self._path = shelf.new_file()
        try:
            np.ascontiguousarray(values).tofile(self._path)
        except OSError as error:
            raise OutputError(
                f"room for {self._bytes / 1e6:.0f} MB of activations in {self._path.parent.parent}",
                str(error),
                "make room, or set TMPDIR to another directory",
            ) from error

    def get(self) -> NDArray[Any]:
        """Return the array."""
        if self._values is not None:
            return self._values
        assert self._path is not None
        return np.fromfile(self._path, self._dtype).reshape(self._shape)

    def __del__(self) -> None:
        if self._values is not None:
            self._shelf.room += self._bytes
        elif self._path is not None:
            self._path.unlink(missing_ok=True)
