"""References to the user's own Python objects."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import compress
from compress.core.object_references import is_reference, resolve, split_call, working_directory_importable
from compress.errors import DataError, MetricError
from compress.onnx_graph.files import save_model
from tests.graphs import classifier


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_name_in_an_installed_module() -> None:
    assert resolve("collections:OrderedDict", kind="a class", error=DataError) is OrderedDict


def test_a_dotted_name() -> None:
    assert (
        resolve("collections:OrderedDict.fromkeys", kind="a method", error=DataError) == OrderedDict.fromkeys
    )


def test_a_module_of_the_working_directory_and_sys_path_as_it_was(project: Path) -> None:
    (project / "ref_here.py").write_text("def build():\n    return 3\n")
    before = list(sys.path)
    build = resolve("ref_here:build", kind="a factory", error=DataError)
    assert callable(build)
    assert build() == 3
    assert sys.path == before


def test_a_call_may_import_a_neighbour_late(project: Path) -> None:
    (project / "ref_late.py").write_text(
        "def build():\n    import ref_neighbour\n    return ref_neighbour.n\n"
    )
    (project / "ref_neighbour.py").write_text("n = 5\n")
    build = resolve("ref_late:build", kind="a factory", error=DataError)
    assert callable(build)
    with working_directory_importable():
        assert build() == 5


@pytest.mark.parametrize(
    "text", ["", "module", "a/b.py:f", "module:", ":f", "a:b:c", "1a:b", "a..b:c", "a b:c"]
)
def test_other_forms_are_refused(text: str) -> None:
    assert not is_reference(text)
    with pytest.raises(DataError, match=r"package\.module:callable"):
        resolve(text, kind="a factory", error=DataError)


def test_the_error_is_the_callers() -> None:
    with pytest.raises(MetricError, match="wanted a metric"):
        resolve("no_such_module_at_all:f", kind="a metric", error=MetricError)


def test_a_missing_module_names_itself(project: Path) -> None:
    (project / "ref_package").mkdir()
    (project / "ref_package" / "__init__.py").write_text("")
    with pytest.raises(DataError, match=r"no module named 'ref_package\.absent'"):
        resolve("ref_package.absent:f", kind="a factory", error=DataError)


def test_a_missing_import_inside_the_module_is_told_apart(project: Path) -> None:
    (project / "ref_needs.py").write_text("import ref_not_installed\n")
    with pytest.raises(DataError, match="'ref_needs' imports 'ref_not_installed'"):
        resolve("ref_needs:f", kind="a factory", error=DataError)


@pytest.mark.parametrize("body", ["raise ValueError('bad\\nluck')", "def f(:", "raise SystemExit(3)"])
def test_a_module_that_fails_is_one_line_with_its_cause(project: Path, body: str) -> None:
    (project / "ref_fails.py").write_text(body)
    with pytest.raises(DataError, match="fails while it is imported") as caught:
        resolve("ref_fails:f", kind="a factory", error=DataError)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_missing_name_gets_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean OrderedDict"):
        resolve("collections:OrderedDic", kind="a class", error=DataError)


def test_a_file_of_the_working_directory_stands_in_for_no_module_that_is_installed(project: Path) -> None:
    (project / "colorsys.py").write_text("planted = True\n")
    sys.modules.pop("colorsys", None)
    with working_directory_importable():
        import colorsys

        assert not hasattr(colorsys, "planted")
    sys.modules.pop("colorsys", None)


@pytest.mark.parametrize("command", [["--version"], ["doctor", "--json"], ["inspect", "model.onnx"]])
def test_a_command_runs_nothing_of_the_working_directory(tmp_path: Path, command: list[str]) -> None:
    save_model(classifier(), tmp_path / "model.onnx")
    for name in (
        "json",
        "random",
        "safetensors",
        "torch",
        "torchvision",
        "onnx",
        "numpy",
        "pathlib",
        "click",
        "typing",  # those that ``python -m`` imports itself before it comes to a package are beyond us
        "enum",
        "__future__",
    ):
        (tmp_path / f"{name}.py").write_text(
            f"open('ran', 'a').write('{name} ')\nraise ImportError('{name}')\n"
        )
    environment = {**os.environ, "PYTHONPATH": str(Path(compress.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "compress", *command], cwd=tmp_path, env=environment, capture_output=True
    )
    assert done.returncode in (0, 1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "arguments", "named"),
    [
        ("models:net", (), {}),
        ("models:net()", (), {}),
        ("models:net(10)", (10,), {}),
        (
            "models:net(num_classes=10, widths=[8, 16], name='a (b)')",
            (),
            {"num_classes": 10, "widths": [8, 16], "name": "a (b)"},
        ),
        ("models:net(-1.5, None, scale=True)", (-1.5, None), {"scale": True}),
    ],
)
def test_a_call_has_a_reference_and_literals(
    text: str, arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    assert split_call(text) == ("models:net", arguments, named)


@pytest.mark.parametrize(
    "text",
    [
        "m:f(",
        "m:f(x)",
        "m:f(open('ran', 'w'))",
        "m:f(**{'a': 1})",
        "m:f(1).g(2)",
        "m:f(1) or 2",
        "m:f(" + "(" * 9999,
        "m:f(9**9)",
    ],
)
def test_what_is_no_literal_is_refused_and_never_run(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        split_call(text)
    assert list(tmp_path.iterdir()) == []
