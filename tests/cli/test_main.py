from __future__ import annotations

import subprocess
import sys

import pytest

from compress.cli import LazyGroup, main

HEAVY = {"torch", "onnx", "onnxruntime", "numpy", "rich", "sklearn", "neural_compressor"}


def imported_by(statement: str) -> set[str]:
    script = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["optimize", "--help"], ["gate", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = imported_by(f"from compress.cli import main; sys.exit(main({arguments}))")
    assert {name.split(".")[0] for name in modules} & HEAVY == set()


def test_help_stays_within_its_import_budget() -> None:
    own = imported_by("from compress.cli import main; sys.exit(main(['--help']))")
    click = imported_by("import click, importlib.metadata")
    assert len(own - click) < 40


def test_import_compress_imports_nothing_heavy() -> None:
    assert {name.split(".")[0] for name in imported_by("import compress")} & HEAVY == set()


def test_every_listed_command_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for name in LazyGroup.commands_help:
        assert main([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: compress {name}")


@pytest.mark.parametrize(
    ("arguments", "told", "help_of"),
    [
        (["optimise"], "'optimise'", "compress"),
        (["gate"], "'--baseline'", "compress gate"),
        (["profile", "build", "--scenario", "server"], "'multi-stream'", "compress profile"),
        (["gate", "build", "--no-such-option"], "'--no-such-option'", "compress gate"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], told: str, help_of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert error.endswith(f"; see `{help_of} --help`\n")
    assert error.count("\n") == 1


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_public_names_are_exactly_those_of_all() -> None:
    import compress

    for name in compress.__all__:
        assert getattr(compress, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        compress.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "room", ["errors", "tensors", "target", "recipe", "record", "gate", "bundle", "task", "choice"]
)
def test_light_rooms_import_no_framework(room: str) -> None:
    roots = {name.split(".")[0] for name in imported_by(f"import compress.{room}")}
    assert roots & {"torch", "onnx", "onnxruntime"} == set()


@pytest.mark.parametrize(
    "room",
    [
        "backends.onnxruntime",
        "backends.torch_tensorrt_partition",
        "deploy.sample",
        "doctor",
        "gate.board",
        "hosts.tensorrt",
        "onnx_graph",
        "profiling.layer_pair",
        "profiling.measure",
        "quantization",
        "shipping",
    ],
)
def test_runtime_rooms_never_import_torch(room: str) -> None:
    assert "torch" not in imported_by(f"import compress.{room}")


def test_nobody_imports_the_command_line() -> None:
    modules = imported_by("import compress.api.optimize, compress.api.demo")
    assert not any(name.startswith("compress.cli") for name in modules)


@pytest.mark.parametrize(
    ("name", "near"), [("optmize", "did you mean optimize?"), ("prun", "did you mean prune?")]
)
def test_a_command_that_is_not_known_gets_the_nearest(
    name: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 2
    assert f"no such command '{name}'; {near}" in capsys.readouterr().err
