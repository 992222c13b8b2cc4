"""``-q`` and ``-v``, which every command has, and the way to the documentation in every help."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

from compress.cli import LazyGroup, main
from compress.core.versions import versions
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples
from tests.test_words import COMMANDS


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "model.onnx")
    np.savez(tmp_path / "val.npz", x=samples(60))
    return tmp_path


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_both_flags(name: str) -> None:
    flags = [flag for each in COMMANDS[name].params if isinstance(each, click.Option) for flag in each.opts]
    assert {"-q", "--quiet", "-v", "--verbose"} <= set(flags)


def test_quiet_prints_the_result_alone_and_verbose_the_stages_and_versions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["quantize", "model.onnx", "--data", "val.npz", "--out", "int8.onnx"]
    assert main([*run, "-q"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert "int8.onnx: " in quiet.out
    assert main([*run, "--verbose"]) == 0
    verbose = capsys.readouterr()
    assert verbose.out == quiet.out
    told = verbose.err.splitlines()
    assert f"onnxruntime {versions()['onnxruntime']}" in told[0]
    assert "reading the target and the data" in verbose.err
    assert "loading the network" in verbose.err


def test_quiet_leaves_errors_and_warnings(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(place / "wrong.npz", x=samples(60)[:, :2], y=np.arange(60) % 4)
    assert main(["quantize", "model.onnx", "--data", "wrong.npz", "-q"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["quantize", "model.onnx", "--data", "val.npz", "-q", "-v"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_what_the_configuration_set_is_not_told_where_quiet(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "compress.toml").write_text("[targets]\njson = true\n")
    assert main(["targets"]) == 0
    assert capsys.readouterr().err == "compress.toml: --json True\n"
    assert main(["targets", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_help_tells_where_the_documentation_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], *([name] for name in LazyGroup.commands_help)):
        assert main([*arguments, "--help"]) == 0
        told = "".join(capsys.readouterr().out.split())
        assert f"Documentation:{Path(__file__).parents[2] / 'docs' / 'index.md'}" in told
