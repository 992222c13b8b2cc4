"""An interruption is told with what the same command takes over, where it takes anything over."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest

from compress.cli import compress, main

DATA = ["--data", "val.npz"]
TRAIN = ["--train-data", "train.npz", "--student", "a:b"]


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "called", "told"),
    [
        (["optimize", "m.pt2", *DATA], "optimize.optimize", "takes over the builds that were measured"),
        (["optimize", "m.pt2", *DATA, "--dry-run"], "plan.plan", None),
        (["prune", "m.pt2", *DATA], "prune.prune", "takes over the times that were measured"),
        (["distill", "m.pt2", *DATA, *TRAIN], "distill.distill", "at its last checkpoint"),
        (["distill", "m.pt2", *DATA, *TRAIN, "--widths", "1,2,3"], "choose_student.choose_student", None),
        (["quantize", "m.pt2", *DATA], "quantize.quantize", None),
        (["quantize", "model"], "quantize.quantize", "takes over the weights that were written"),
        (["profile", "m.onnx"], "profile.profile", None),
        (["gate", "build", "--baseline", "main"], "gate.gate_build", None),
        (["inspect", "m.onnx"], "inspect.inspect", None),
    ],
    ids=lambda value: " ".join(value[::1])[:24] if isinstance(value, list) else None,
)
def test_an_interruption_says_what_holds(
    arguments: list[str],
    called: str,
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(f"compress.api.{called}", interrupted)
    monkeypatch.setattr("compress.cli.waiting.waited_for", lambda: None)  # code of the user runs here too
    assert main(arguments) == 130
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: interrupted")
    assert error == "error: interrupted" if told is None else told in error


def test_help_promises_to_go_on_only_where_the_command_does() -> None:
    context = click.Context(compress)
    for name in compress.list_commands(context):
        command = compress.get_command(context, name)
        assert command is not None
        with click.Context(command, info_name=name) as own:
            text = " ".join(re.sub(r"\s+", " ", command.get_help(own)).split())
        promises = re.search(r"resum|takes them over|takes over|goes on at|goes on where", text)
        assert bool(promises) == (getattr(command, "resumes", None) is not None), (name, promises)
