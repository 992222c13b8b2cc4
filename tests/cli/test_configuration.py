"""The configuration file of a project: what it sets, what wins over it, and what it may not hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.shell_completion import ShellComplete

from compress.cli import compress as group
from compress.cli import main
from compress.cli.configuration import WRITTEN, Configured, _check_safe, configured
from compress.core import toml_schema
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples

DRY = ("optimize", "model.onnx", "--dry-run", "--json")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60), y=np.arange(60) % 4)
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    assert main([*DRY, *arguments]) == 0
    printed = capsys.readouterr()
    found: dict[str, Any] = json.loads(printed.out)
    return found, printed.err


def conditions(plan: dict[str, Any]) -> str:
    return " ".join(str(build["when"]) for build in plan["builds"])


def test_options_are_taken_from_the_file_and_told_and_flags_win(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "compress.toml").write_text(
        'target = "cpu"\n[optimize]\ndata = "val.npz"\nmax-drop = 100\nbackend = ["onnxruntime"]\n'
        '[quantize]\nprecision = "fp16"\n'
    )
    plan, told = planned(capsys)
    assert "loses more than 100 points" in conditions(plan)
    assert {build["backend"] for build in plan["builds"]} == {"onnxruntime"}
    assert "compress.toml: --data val.npz, --target cpu, --max-drop 100, --backend onnxruntime" in told
    plan, told = planned(capsys, "--max-drop", "60")
    assert "loses more than 60 points" in conditions(plan)
    assert "--max-drop" not in told.splitlines()[0]


def test_a_table_of_pyproject_is_read_and_a_project_without_one_is_not(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "pyproject.toml").write_text(
        '[project]\nname = "compressed-sensing"\n[tool.compress.optimize]\ndata = "val.npz"\nmax-drop = 100\n'
    )
    _, told = planned(capsys)
    assert told.startswith("pyproject.toml: --data val.npz, --max-drop 100\n")
    (place / "compress.toml").write_text("")
    assert main(list(DRY)) == 2
    assert "one configuration" in capsys.readouterr().err
    (place / "compress.toml").unlink()
    (place / "pyproject.toml").write_text('[project]\nname = "compressed-sensing"\n')
    assert main(list(DRY)) == 2
    assert "'--data'" in capsys.readouterr().err


def test_the_file_is_found_in_the_working_directory_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "compress.toml").write_text('[optimize]\ndata = "val.npz"\n')
    (place / "below").mkdir()
    monkeypatch.chdir(place / "below")
    assert main(["optimize", "../model.onnx", "--dry-run"]) == 2
    assert "'--data'" in capsys.readouterr().err


def test_a_flag_that_is_set_can_be_left_out_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "compress.toml").write_text("[targets]\njson = true\n")
    assert main(["targets"]) == 0
    assert capsys.readouterr().out.startswith("[")
    assert main(["--no-config", "targets"]) == 0
    assert not capsys.readouterr().out.startswith("[")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[optimize]\nmaxdrop = 1\n", "did you mean max-drop?"),
        ("[optimise]\nmax-drop = 1\n", "did you mean optimize?"),
        ("max-dropp = 1\n", "did you mean max-drop"),
        ("[optimize]\nmax-drop = 101\n", "101 is not from 0 to 100"),
        ('[optimize]\nmax-drop = "much"\n', "'much' is no number"),
        ("[optimize]\nthreads = 1.5\n", "'1.5' is no integer"),
        ("[optimize]\nstrict = 1\n", "as true or false"),
        ("[optimize]\nmax-drop = true\n", "as text or a number"),
        ("[optimize]\nmax-drop = [1]\n", "as one value"),
        ("[optimize]\ntrust-pickle = true\n", "it runs whatever code a file holds"),
        ("trust-pickle = true\n", "it runs whatever code a file holds"),
        ('[optimize]\nfactory = "torchvision.models:resnet18"\n', "it runs code"),
        ('[optimize]\ndata = "evil:data"\n', "names no code"),
        ('[optimize]\nmetric = ["evil.module:metric"]\n', "names no code"),
        ('[optimize]\nmetric = ["scores=evil:metric"]\n', "names no code"),
        ('[optimize]\nout = "../elsewhere"\n', "below the working directory"),
        ('[optimize]\nout = "/tmp/elsewhere"\n', "below the working directory"),
        ('[optimize]\nout = "link/elsewhere"\n', "below the working directory"),
        ('[optimize]\nout = "circle"\n', "a path that can be written"),
        ('out = "build"\n', "below a line such as [optimize]"),
        ('csv = "f.csv"\n', "below a line such as [optimize]"),
        ('card = "card.md"\n', "below a line such as [optimize]"),
        ('host = "pi@board"\n', "it logs in to another machine"),
        ('[optimize]\nhost = "pi@board"\n', "it logs in to another machine"),
        ("[optimize]\nquiet = true\n", "chooses how much it tells"),
        ("verbose = true\n", "chooses how much it tells"),
        ("remove = true\n", "it deletes files"),
        ("[gate]\nmax-drop = 100\n", "could loosen it"),
        ("optimize = 1\n", "a table [optimize]"),
        ("[optimize\n", "valid TOML"),
    ],
)
def test_what_cannot_stand_there_is_one_line(
    place: Path, content: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "link").symlink_to("/tmp")
    (place / "circle").symlink_to("circle")
    (place / "compress.toml").write_text(content)
    assert main([*DRY, *(() if "data" in content else ("--data", "val.npz"))]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("tool = 'compress'\n", "a table [tool] in pyproject.toml"),
        ("[tool]\ncompress = 1\n", "a table [tool.compress] in pyproject.toml"),
        ("[[tool.compress]]\n", "a table [tool.compress] in pyproject.toml"),
        ("[tool.compress]\noptimize = 1\n", "a table [optimize] in [tool.compress] of pyproject.toml"),
        ("[tool.compress.gate]\n", "no table [gate] in [tool.compress] of pyproject.toml"),
    ],
)
def test_what_is_no_table_in_pyproject_is_one_line(
    place: Path, content: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "pyproject.toml").write_text(content)
    assert main([*DRY, "--data", "val.npz"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_the_gate_takes_nothing_from_the_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the change that is judged brings with it cannot loosen the gate, in the gate's table or above all."""
    (place / "compress.toml").write_text("max-drop = 100\nmax-slowdown = 10000\njson = true\n")
    run = ["gate", "model.onnx", "--baseline", "model.onnx", "--data", "val.npz"]
    assert main([*run, "--max-slowdown", "much"]) == 2
    assert "compress.toml" not in capsys.readouterr().err
    command, root = _gate()
    assert configured(command, "gate", root) == Configured()
    (place / "compress.toml").write_text("[gate]\non-inconclusive = 'pass'\n")
    assert main(run) == 2
    assert "the change that the gate judges" in capsys.readouterr().err


def _gate() -> tuple[click.Command, click.Context]:
    root = click.Context(group)
    command = group.get_command(root, "gate")
    assert command is not None
    return command, root


@pytest.mark.parametrize("flag", sorted(WRITTEN))
def test_flags_that_write_are_flags_of_commands(flag: str) -> None:
    assert flag in _keys()


def test_every_flag_that_names_a_file_to_be_written_is_held_to_the_project() -> None:
    """A new one is found by the words of its help."""
    found = {
        key
        for key, texts in _keys().items()
        if any(
            re.match(r"(File|Directory)\b(?! with).* (for|to write|of the bundle)", text) for text in texts
        )
    }
    assert found == WRITTEN


def _keys() -> dict[str, list[str]]:
    """Return the help texts of every flag of every command."""
    root = click.Context(group)
    found: dict[str, list[str]] = {}
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        assert command is not None
        for each in command.params:
            if isinstance(each, click.Option):
                found.setdefault(each.opts[-1].removeprefix("--"), []).append(each.help or "")
    return found


def test_a_command_reads_the_file_once_and_a_shell_that_completes_does_not(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "compress.toml").write_text('[optimize]\ndata = "val.npz"\n')
    read: list[Path] = []
    plain = toml_schema.read_toml

    def seen(path: Path, *arguments: Any, **more: Any) -> dict[str, Any]:
        read.append(path)
        return plain(path, *arguments, **more)

    monkeypatch.setattr(toml_schema, "read_toml", seen)
    planned(capsys)
    assert read.count(Path("compress.toml")) == 1
    (place / "compress.toml").write_text("[nonsense\n")
    completion = ShellComplete(group, {}, "compress", "_COMPRESS_COMPLETE")
    assert "--max-drop" in {each.value for each in completion.get_completions(["optimize"], "--max")}


def test_help_is_shown_whatever_the_file_holds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "compress.toml").write_text("[nonsense\n")
    assert main(["optimize", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: compress optimize")


def test_metrics_with_settings_and_a_host_are_no_code(place: Path) -> None:
    for text in (
        "miou:ignore=255",
        "scores=miou:ignore=255",
        "pi@board",
        "pi@10.0.0.1:22",
        "1x3x8x8..1x3x9x9",
    ):
        _check_safe("metric", text, "compress.toml")
