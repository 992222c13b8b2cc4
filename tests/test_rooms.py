"""Where things live, and who may import whom: downhill, never in a circle, also not by an import inside a function."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import warnings
from collections import Counter

import pytest

import compress
from compress.core.moved import GONE_IN, MOVED, RENAMED
from compress.core.versions import versions
from tests.rooms import ENTRANCES, GRAPH, MODULES, PACKAGE, ROOMS, imports, room_of

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


def test_nothing_lies_loose():
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == set(ENTRANCES)


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
        and room_of(module) != room_of(each)
        and level[room_of(module)] <= level[room_of(each)]
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
        for each in imports(ast.parse(path.read_text(encoding="utf-8")))
        if each.partition(".")[0] == "pytest"
    }
    assert {name for name in needing if room_of(name) != "testing"} <= {"compress.testing.pytest_plugin"}
    assert not {
        name for name, imported in GRAPH.items() if any(room_of(each) == "testing" for each in imported)
    } - {name for name in MODULES if room_of(name) == "testing"}


def test_nobody_but_the_entry_point_imports_the_command_line():
    outside = {name for name, imported in GRAPH.items() if any(room_of(each) == "cli" for each in imported)}
    assert {name for name in outside if room_of(name) != "cli"} == {"compress.__main__"}


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_need_the_standard_library_and_numpy_alone(room: str):
    heavy = {
        f"{name} imports {each}"
        for name, path in MODULES.items()
        if room_of(name) == room
        for each in imports(ast.parse(path.read_text(encoding="utf-8")), lazy=False)
        if each.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "compress"}
    }
    assert heavy == set()


def test_back_ends_and_hosts_import_no_torch():
    with_torch = {
        name
        for name in MODULES
        if room_of(name) in ("backends", "hosts") and "torch_tensorrt" not in name
        for each in imports(ast.parse(MODULES[name].read_text(encoding="utf-8")), lazy=False)
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
    home, _, name = now.rpartition(":")
    found = importlib.import_module(f"compress.{home or module}")
    value = getattr(found, name)
    assert home or old not in vars(found)
    # By every old name of the module too, and from the module itself where that is still there.
    for former in [module, *(each for each, new in MOVED.items() if new == module)]:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                taken = getattr(importlib.import_module(f"compress.{former}"), old)
            except AttributeError:
                assert former == module, f"compress.{former}.{old} is lost"
                continue
        assert taken is value
        assert [each.category for each in warned] == [DeprecationWarning]
        assert f"'compress.{former}.{old}' is '{found.__name__}.{name}' now" in str(warned[0].message)


#: Names that a module of 0.1 had before its rooms, where that module is a package now, or is still there.
LOST_AND_FOUND = {
    "compress.search.propose": "compress.search.proposals",
    "compress.search.ORIGINAL": "compress.search.proposals",
    "compress.search.WHOLE_CHAINS": "compress.search.proposals",
    "compress.writing.replaced_whole": "compress.core.replacing",
    "compress.record.SEAL": "compress.records.profile",
    "compress.data.detection_options.DetectionOptions": "compress.metrics.detection_options",
    "compress.data.detection_options.read_table": "compress.data.detection_table",
    "compress.metrics.mean_error": "compress.metrics.regression",
    "compress.onnx_graph.files.check_size": "compress.network.formats.onnx_size",
    "compress.pruning.propagation.Rule": "compress.pruning.axes",
    "compress.training.settings.TrainingSettings": "compress.training.settings",
}


@pytest.mark.parametrize(("former", "home"), LOST_AND_FOUND.items())
def test_no_name_is_lost_that_a_module_had(former: str, home: str):
    module, _, name = former.rpartition(".")
    with pytest.warns(DeprecationWarning, match=rf"'{former}' is '{home}\.\w+' now"):
        found = getattr(importlib.import_module(module), name)
    now = {"SEAL": "DIGEST", "TrainingSettings": "TrainingOptions"}.get(name, name)
    assert found is getattr(importlib.import_module(home), now)


def test_an_old_module_is_a_package_only_where_the_new_one_is():
    with pytest.raises(ModuleNotFoundError, match=r"'compress.tensors' is not a package"):
        importlib.import_module("compress.tensors.nothing")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'compress.formats.nothing'"):
        importlib.import_module("compress.formats.nothing")
    masks = importlib.import_module("compress.sparsity.masks")  # both are one module now
    with pytest.warns(DeprecationWarning, match="compress.pruning.masks_2_4"):
        assert masks.mask_2_4 is importlib.import_module("compress.pruning.masks_2_4").mask_2_4


@pytest.mark.parametrize("module", sorted({f"compress.{module}" for module, _ in RENAMED}))
def test_a_module_says_in_its_own_words_what_it_lacks(module: str):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
        _ = importlib.import_module(module).nothing


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


def test_files_of_tests_have_names_of_their_own() -> None:
    """Outside of packages pytest imports a file by its name alone: of two of one name it takes only the first."""
    tests = PACKAGE.parent / "tests"
    alone = [path for path in tests.rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    several = [name for name, count in Counter(path.name for path in alone).items() if count > 1]
    assert several == []
