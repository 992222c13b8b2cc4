"""English text without a download: docstrings of installed packages, a document for each source file."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

#: Packages whose docstrings are prose in good part, all of them dependencies of compress or of its tests.
PACKAGES = ("numpy", "scipy", "torch", "transformers")

#: Characters of a document, at least; more than enough for the 512 tokens that are read of one.
LEAST = 3000


def documents(count: int, seed: int = 0, *, from_the_end: bool = False) -> list[str]:
    """Return documents of distinct files, in an order that the seed decides; fewer where there are not so many.

    Args:
        count: Number of documents.
        seed: Seed of the order.
        from_the_end: Whether to take the last of the order: others than the first ones, without reading these.
    """
    files = [path for package in PACKAGES for path in sources(package)]
    found: list[str] = []
    order = np.random.default_rng(seed).permutation(len(files))
    for position in order[::-1] if from_the_end else order:
        text = docstrings(files[position])
        if len(text) >= LEAST:
            found.append(text)
        if len(found) == count:
            break
    return found


def write_documents(directory: Path, count: int, seed: int = 0) -> Path:
    """Write documents as files of a directory, which is made, and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(documents(count, seed)):
        (directory / f"{number:04}.txt").write_text(text, encoding="utf-8")
    return directory


def sources(package: str) -> list[Path]:
    """Return the source files of an installed package but its tests, sorted; none where it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    return sorted(path for path in Path(spec.origin).parent.rglob("*.py") if "tests" not in path.parts)


def docstrings(path: Path) -> str:
    """Return the docstrings of a source file with empty lines between; empty where it cannot be parsed."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return ""
    return "\n\n".join(_of(tree))


def _of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield inspect.cleandoc(text)
