"""Readers with a defect each, which the campaign has to find."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from compress.errors import DataError
from fuzz import mutations
from fuzz.readers import Reader


def _reads(path: Path) -> None:
    if path.read_bytes().startswith(b"x"):
        raise DataError("a file", "one that is refused", "take another")


def _fails(path: Path) -> None:
    raise KeyError("no such thing")


def _crashes(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hangs(path: Path) -> None:
    while True:
        pass


def _eats(path: Path) -> None:
    bytes(1 << 40)


READERS = {
    read.__name__: Reader(read.__name__, read, lambda: {"x": b"x", "a": b"abc"}, mutations.of_bytes)
    for read in (_reads, _fails, _crashes, _hangs, _eats)
}
