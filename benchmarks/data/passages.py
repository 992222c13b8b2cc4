"""Passages of documentation and the package that each is from: a task of real text that needs no download.

The text is that of docstrings (:mod:`benchmarks.data.docstrings`) of the standard library and of nine packages that
compress or its tests depend on. A passage is some 30 words in a row. Every source file is in one of three parts: what
is trained on, what a compressor is given to judge by, and what nobody sees before the end. Other releases of the
packages give other passages, and the figures move a little with them.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.docstrings import docstrings, sources
from compress.errors import DataError

Part = Literal["train", "given", "held out"]

#: Classes, in the order of their labels; the first is the standard library.
CLASSES = (
    "python",
    "numpy",
    "scipy",
    "torch",
    "transformers",
    "sympy",
    "networkx",
    "sklearn",
    "pandas",
    "torchmetrics",
)

#: Words of a passage, and those that the last passage of a file has at least.
WORDS, LEAST_WORDS = 30, 15

#: Of 256, the files of each part; the rest is trained on.
_SHARES: dict[Part, tuple[int, int]] = {"held out": (0, 38), "given": (38, 76), "train": (76, 256)}

#: Most passages of one file, so that no single long file fills a class.
_OF_A_FILE = 60


def passages(part: Part, of_a_class: int, seed: int = 0) -> tuple[list[str], NDArray[np.int64]]:
    """Return passages in an order that the seed decides, and their labels, int64 [n].

    Args:
        part: Files that the passages are of; the parts share no file.
        of_a_class: Number of passages of each class; fewer where there are not so many.
        seed: Seed of the choice and of the order.

    Raises:
        DataError: A package is not installed.
    """
    random = np.random.default_rng(seed)
    texts: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(CLASSES):
        files = _files(name, part)
        of_class: list[str] = []
        for position in random.permutation(len(files)):
            of_class += _cut(files[position])
            if len(of_class) >= of_a_class:
                break
        if not of_class:
            raise DataError(
                f"docstrings of {name}", "none", 'install compress with its tests: pip install -e ".[test]"'
            )
        texts += of_class[:of_a_class]
        labels += [label] * len(of_class[:of_a_class])
    order = random.permutation(len(texts))
    return [texts[position] for position in order], np.array(labels, np.int64)[order]


def _files(name: str, part: Part) -> list[Path]:
    low, high = _SHARES[part]
    if name == "python":
        root = Path(sysconfig.get_paths()["stdlib"])
        apart = {"site-packages", "dist-packages", "test", "tests", "idlelib"}
        files = [path for path in sorted(root.rglob("*.py")) if not apart & set(path.parts)]
    else:
        files = sources(name)
    return [path for path in files if low <= _byte(path.parts[-3:]) < high]


def _byte(parts: tuple[str, ...]) -> int:
    """Return a number below 256 that follows from the end of a file's path, wherever it is installed."""
    return hashlib.sha256("/".join(parts).encode()).digest()[0]


def _cut(path: Path) -> list[str]:
    words = re.findall(r"\S+", docstrings(path))
    starts = range(0, max(0, len(words) - LEAST_WORDS + 1), WORDS)
    return [" ".join(words[start : start + WORDS]) for start in starts][:_OF_A_FILE]
