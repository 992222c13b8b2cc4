"""Byte sequences from the Python installation that runs the benchmark: nothing to download, and real files.

Two tasks, both over windows of raw bytes:

    fragments   which kind of file 512 bytes come from, as in file carving and malware triage
    packages    which Python package 256 bytes of source come from

The files are those of the standard library and of the packages that compress itself depends on, so whoever can run the
benchmark has them; other releases of them give other windows, and the figures move a little with them. No file is on
both sides: what is tested on comes from files that no training window was taken from.
"""

from __future__ import annotations

import hashlib
import marshal
import sysconfig
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError

TRAINING_WINDOWS = 32_000
TEST_WINDOWS = 5_000
WINDOWS_PER_FILE = 8

_STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
_PACKAGES = Path(sysconfig.get_paths()["purelib"])
_READ_AT_MOST = 1 << 18  # bytes of a file; shared libraries have hundreds of megabytes
_TEST_SHARE = 51  # of 256

Windows = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Files that the windows of one class come from.

    Attributes:
        name: Name of the class.
        directory: Searched with everything below it.
        patterns: Patterns of the files' names.
        content: The bytes that windows are taken from.
    """

    name: str
    directory: Path
    patterns: tuple[str, ...]
    content: Callable[[Path], bytes]


def fragments(split: str, length: int = 512) -> tuple[Windows, Labels]:
    """Windows of seven kinds of files.

    Args:
        split: ``"train"`` or ``"test"``.
        length: Length of a window, in bytes.

    Returns:
        Windows, uint8 [n, length], and classes, int64 [n] in 0–6.

    Raises:
        DataError: Some kind of file is hardly there.
    """
    return _windows(_KINDS, split, length)


def packages(split: str, length: int = 256) -> tuple[Windows, Labels]:
    """Windows of the source of eight packages.

    Args:
        split: ``"train"`` or ``"test"``.
        length: Length of a window, in bytes.

    Returns:
        Windows, uint8 [n, length], and classes, int64 [n] in 0–7.

    Raises:
        DataError: A package is not installed.
    """
    return _windows(_SOURCES, split, length)


def _plain(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_READ_AT_MOST)


def _middle(path: Path) -> bytes:
    """Return the part of a library that holds code; tables of names come first."""
    with path.open("rb") as file:
        file.seek(path.stat().st_size // 2)
        return file.read(_READ_AT_MOST)


def _bytecode(path: Path) -> bytes:
    """Return the bytes of a .pyc file of this interpreter; the source is compiled and never run."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return marshal.dumps(compile(path.read_bytes(), path.name, "exec", dont_inherit=True))
    except (SyntaxError, ValueError):  # template files and tests of the parser
        return b""


def _deflated(path: Path) -> bytes:
    return zlib.compress(path.read_bytes())


_KINDS = (
    Source("python", _STANDARD_LIBRARY, ("*.py",), _plain),
    Source("stub", _PACKAGES, ("*.pyi",), _plain),
    Source("bytecode", _STANDARD_LIBRARY, ("*.py",), _bytecode),
    Source("shared library", _PACKAGES, ("*.so", "*.so.*"), _middle),
    Source("header", _PACKAGES / "torch", ("*.h", "*.hpp", "*.cuh"), _plain),
    Source("deflate", _STANDARD_LIBRARY, ("*.py",), _deflated),
    Source("text", _PACKAGES, ("*.txt", "*.md", "*.rst", "METADATA"), _plain),
)
_SOURCES = (
    Source("standard library", _STANDARD_LIBRARY, ("*.py",), _plain),
    *(
        Source(name, _PACKAGES / name, ("*.py",), _plain)
        for name in (
            "torch",
            "sympy",
            "numpy",
            "networkx",
            "onnxruntime",
            "neural_compressor",
            "onnxscript",
        )
    ),
)


def _windows(sources: tuple[Source, ...], split: str, length: int) -> tuple[Windows, Labels]:
    """Return equally many windows of each class, shuffled; the same files give the same windows."""
    rng = np.random.default_rng({"train": 0, "test": 1}[split])
    count = {"train": TRAINING_WINDOWS, "test": TEST_WINDOWS}[split] // len(sources)
    rows: list[bytes] = []
    for source in sources:
        found = _take(source, split, length, count, rng)
        if len(found) < count:
            raise DataError(
                f"{count} windows of '{source.name}' below {source.directory}",
                f"{len(found)}",
                'install compress with its tests: pip install "compress-toolkit[test]"',
            )
        rows += found
    order = rng.permutation(len(rows))
    windows = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), length)
    return windows[order], np.repeat(np.arange(len(sources)), count)[order]


def _take(source: Source, split: str, length: int, count: int, rng: np.random.Generator) -> list[bytes]:
    """Up to ``count`` windows: a few from each of the class's files, and more from each until they are enough."""
    files = [path for path in _files(source) if (_hash(source, path) < _TEST_SHARE) == (split == "test")]
    rows: list[bytes] = []
    before = -1
    while before < len(rows) < count:
        before = len(rows)
        for index in rng.permutation(len(files)):
            content = source.content(files[index])
            places = max(len(content) - length + 1, 0)
            taken = min(WINDOWS_PER_FILE, -(-places // length), count - len(rows))
            rows += [content[start : start + length] for start in rng.integers(0, max(places, 1), taken)]
            if len(rows) == count:
                break
    return rows


def _files(source: Source) -> Iterator[Path]:
    """Sorted; packages that are installed inside the standard library's directory are not of it."""
    found = {path for pattern in source.patterns for path in source.directory.rglob(pattern)}
    for path in sorted(found):
        parts = path.relative_to(source.directory).parts
        if "site-packages" not in parts and "dist-packages" not in parts and path.is_file():
            yield path


def _hash(source: Source, path: Path) -> int:
    """A byte that follows from where the file is in its package."""
    return hashlib.sha256(path.relative_to(source.directory).as_posix().encode()).digest()[0]
