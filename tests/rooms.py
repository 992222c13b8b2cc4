"""The order of the rooms, and who imports whom: the tests hold it, and docs/house.py draws it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "compress"

#: Each room imports only from those before it.
ROOMS = (
    ("core", "records", "statistics"),
    ("machine", "onnx_graph"),
    ("metrics", "onnx_module", "target"),
    ("data",),
    ("network",),
    ("backends", "low_rank", "training"),
    ("lint", "profiling", "quantization"),
    ("language",),
    ("bundle", "students", "timing"),
    ("hosts", "trends"),
    ("doctor", "measuring", "pruning"),
    ("gate", "techniques"),
    ("search", "testing"),
    ("reports",),
    ("api",),
    ("cli",),
)

#: What may lie outside of the rooms.
ENTRANCES = ("__init__.py", "__main__.py", "errors.py", "recipe.py", "py.typed")


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def imports(tree: ast.AST, *, lazy: bool = True) -> Iterator[str]:
    """The modules that a file imports; those for type checkers are left out, and on demand those inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            assert node.module is not None
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module
        yield from imports(node, lazy=lazy)


def _graph() -> dict[str, set[str]]:
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    return {name: {each for each in imports(tree) if each in MODULES} for name, tree in trees.items()}


GRAPH = _graph()


def room_of(module: str) -> str:
    """``errors`` and ``recipe`` count as core: everybody needs them."""
    parts = module.split(".")
    return "core" if len(parts) == 1 or parts[1] in ("errors", "recipe") else parts[1]
