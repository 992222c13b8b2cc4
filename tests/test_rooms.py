"""Where things live, and who may import whom: downhill, never in a circle, also not by an import inside a function."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import compress
from compress.core.moved import GONE_IN, MOVED, RENAMED
from compress.core.versions import versions

PACKAGE = Path(compress.__file__).parent

#: Each room imports only from those before it.
ROOMS = (
    ("core", "records", "statistics"),
    ("machine", "onnx_graph"),
    ("metrics", "onnx_module", "target"),
    ("data",),
    ("network",),
    ("backends", "low_rank", "training"),
    ("lint", "profiling", "quantization"),
    ("bundle", "students", "timing"),
    ("hosts", "trends"),
    ("doctor", "measuring", "pruning"),
    ("gate", "techniques"),
    ("search", "testing"),
    ("reports",),
    ("api",),
    ("cli",),
)

#: Rooms whose modules import, when they are imported themselves, nothing but the standard library and numpy.
LIGHT = (
    "core",
    "machine",
    "records",
    "statistics",
    "target",
    "bundle",
    "hosts",
    "measuring",
    "timing",
    "trends",
)

#: What may lie outside of the rooms.
LOOSE = {"__init__.py", "__main__.py", "errors.py", "recipe.py", "py.typed"}


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(tree: ast.AST, *, lazy: bool = True) -> Iterator[str]:
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
        yield from _imports(node, lazy=lazy)


def _graph() -> dict[str, set[str]]:
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    return {name: {each for each in _imports(tree) if each in MODULES} for name, tree in trees.items()}


GRAPH = _graph()


def _room(module: str) -> str:
    """``errors`` and ``recipe`` count as core: everybody needs them."""
    parts = module.split(".")
    return "core" if len(parts) == 1 or parts[1] in ("errors", "recipe") else parts[1]


def test_nothing_lies_loose():
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == LOOSE


def test_every_room_has_a_place_in_the_order():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == {room for level in ROOMS for room in level}


def test_rooms_import_downhill():
    level = {room: at for at, rooms in enumerate(ROOMS) for room in rooms}
    uphill = [
        f"{module} imports {each}"
        for module, imported in GRAPH.items()
        for each in imported
        if module not in ("compress", "compress.__main__")
        and _room(module) != _room(each)
        and level[_room(module)] <= level[_room(each)]
    ]
    assert uphill == []


def test_no_module_imports_itself_by_way_of_others():
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join([*way[way.index(module) :], module])
        if module not in done:
            for each in sorted(GRAPH[module]):
                visit(each, (*way, module))
            done.add(module)

    for module in GRAPH:
        visit(module, ())


def test_only_the_suites_for_other_distributions_and_the_plugin_need_pytest():
    needing = {
        name
        for name, path in MODULES.items()
        for each in _imports(ast.parse(path.read_text(encoding="utf-8")))
        if each.partition(".")[0] == "pytest"
    }
    assert {name for name in needing if _room(name) != "testing"} <= {"compress.testing.pytest_plugin"}
    assert not {
        name for name, imported in GRAPH.items() if any(_room(each) == "testing" for each in imported)
    } - {name for name in MODULES if _room(name) == "testing"}


def test_nobody_but_the_entry_point_imports_the_command_line():
    outside = {name for name, imported in GRAPH.items() if any(_room(each) == "cli" for each in imported)}
    assert {name for name in outside if _room(name) != "cli"} == {"compress.__main__"}


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_need_the_standard_library_and_numpy_alone(room: str):
    heavy = {
        f"{name} imports {each}"
        for name, path in MODULES.items()
        if _room(name) == room
        for each in _imports(ast.parse(path.read_text(encoding="utf-8")), lazy=False)
        if each.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "compress"}
    }
    assert heavy == set()


def test_back_ends_and_hosts_import_no_torch():
    with_torch = {
        name
        for name in MODULES
        if _room(name) in ("backends", "hosts") and "torch_tensorrt" not in name
        for each in _imports(ast.parse(MODULES[name].read_text(encoding="utf-8")), lazy=False)
        if each.partition(".")[0] == "torch"
    }
    assert with_torch == set()


@pytest.mark.parametrize("old", sorted(MOVED))
def test_what_has_moved_is_where_the_table_says(old: str):
    assert f"compress.{MOVED[old]}" in MODULES
    assert f"compress.{old}" not in MODULES


def test_old_names_import_and_name_the_new_ones():
    with pytest.warns(DeprecationWarning, match="compress.core.tensor_spec.TensorSpec"):
        from compress.tensors import TensorSpec  # type: ignore[import-not-found]
    assert TensorSpec is importlib.import_module("compress.core.tensor_spec").TensorSpec
    with pytest.warns(DeprecationWarning, match="compress.target.target.load_target"):
        from compress.target import load_target
    assert load_target is compress.load_target


@pytest.mark.parametrize(("place", "now"), RENAMED.items())
def test_what_is_called_something_else_is_there(place: tuple[str, str], now: str):
    module, old = place
    found = importlib.import_module(f"compress.{module}")
    assert hasattr(found, now)
    assert not hasattr(found, old)


def test_results_have_the_name_of_their_verb():
    with pytest.warns(DeprecationWarning, match="'compress.Result' is 'compress.OptimizeResult' now"):
        assert compress.Result is compress.OptimizeResult
    with pytest.warns(DeprecationWarning, match="load_for"), pytest.raises(ImportError, match="load_nothing"):
        from compress.loading import load_for, load_nothing  # type: ignore[import-not-found]  # noqa: F401


def test_modules_inside_a_room_that_has_moved_are_found_too():
    with pytest.warns(DeprecationWarning, match="compress.network.formats.pickles"):
        from compress.formats.pickles import unsafe_globals  # type: ignore[import-not-found]  # noqa: F401


def test_what_was_never_there_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("compress.nothing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = importlib.import_module("compress.tensors")
    with pytest.raises(AttributeError, match=r"'compress.tensors' has no attribute 'nothing'"):
        _ = old.nothing


def test_nothing_of_ours_uses_an_old_name():
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::DeprecationWarning:compress",
            "-c",
            "import compress.cli, compress.api.optimize",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_old_names_go_when_they_are_due():
    numbers = [tuple(map(int, each.split("."))) for each in (versions()["compress-toolkit"], GONE_IN)]
    assert numbers[0] < numbers[1], "delete compress/core/moved.py and what uses it"
