"""Tables and lines on terminals of four widths, each a real pseudo-terminal, and where there is no terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from rich.console import Console

from compress.cli import main
from compress.cli.result_table import _latency_cell
from compress.cli.tables import Name, plain_table, print_table
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples
from tests.records import latency
from tests.reports import runs

WIDTHS = (60, 80, 100, 200)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a network, data, a bundle of a made-up run and a profile."""
    directory = tmp_path_factory.mktemp("screens")
    entries = runs.candidates("int8-percentile-of-a-recipe-with-a-long-name")
    runs.written(directory, entries)
    save_model(classifier(), directory / "model.onnx")
    x = samples(800)
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": x})
    np.savez(directory / "val.npz", x=x, y=scores.argmax(1))
    (directory / "gate.toml").write_text('checks = ["accuracy", "churn", "size"]\n')
    assert (
        main(["profile", str(directory / "build"), "--seconds", "0.05", "--out", str(directory / "p.json")])
        == 0
    )
    return directory


#: Each verb that prints a table, quick enough to run at four widths, and what has to stand in it whole.
VERBS: dict[str, tuple[list[str], list[str]]] = {
    "compare": (["compare", "build", "p.json"], ["batch 1", "recipe"]),
    "history": (["history", "."], ["batch 1", "too few"]),
    "inspect": (["inspect", "model.onnx", "--target", "jetson"], ["MACs", "bound", "estimated", "50.7 k"]),
    "lint": (
        ["lint", "model.onnx", "--target", "jetson-agx-xavier"],
        ["error opset", "export with opset 17 [--fix: opset]", "1 error, 0 warnings"],
    ),
    "doctor": (["doctor", "--quick"], ["measured: cpu", "onnxruntime"]),
    "plugins": (["plugins"], ["compress.techniques", "quantize"]),
    "techniques": (["techniques"], ["quantize", "low_rank"]),
    "cache": (["cache"], ["kept"]),
    "targets": (["targets"], ["jetson-orin-nano-super", "GB/s", "int8 TOP/s", "TensorRT"]),
    "targets show": (["targets", "show", "jetson"], ["Ridge point", "Bandwidth"]),
    "gate": (
        ["gate", "model.onnx", "--baseline", "model.onnx", "--data", "val.npz", "--policy", "gate.toml"],
        ["accuracy: pass: drop +0.00 points", "McNemar p = 1", "verdict: pass"],
    ),
    "profile": (["profile", "build", "--seconds", "0.05"], ["p50", "samples/s", "calls"]),
}


#: Runs all verbs one after the other in one process, which imports everything once.
RUN_ALL = """
import json, sys
from compress.cli import main
for verb, arguments in json.loads(sys.argv[1]):
    print(f"<<{verb}>>", flush=True)
    main(arguments)
    sys.stdout.flush()
"""


@pytest.fixture(scope="module", params=WIDTHS)
def terminal(request: pytest.FixtureRequest, place: Path) -> tuple[int, dict[str, str]]:
    """Columns of a pseudo-terminal, and what each verb prints on it, without colours."""
    width: int = request.param
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    environment.update(TERM="xterm", XDG_CACHE_HOME=str(place / "cache"))
    asked = json.dumps([[verb, arguments] for verb, (arguments, _) in VERBS.items()])
    command = [sys.executable, "-P", "-c", RUN_ALL, asked]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environment, cwd=place
    ):
        os.close(theirs)
        told = b"".join(iter(lambda: _read(own), b""))
    os.close(own)
    parts = re.split(r"<<(.*?)>>\n", _without_colours(told.decode()).replace("\r\n", "\n"))[1:]
    return width, dict(zip(parts[::2], parts[1::2], strict=True))


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # so Linux ends a terminal that nobody writes to any more
        return b""


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_cut_on_a_terminal(verb: str, terminal: tuple[int, dict[str, str]]) -> None:
    width, printed = terminal
    told = printed[verb]
    assert "…" not in told
    for word in VERBS[verb][1]:
        assert word in " ".join(told.split()), told
    # A path has no place to wrap: the terminal goes on with it in the next line by itself.
    long = [line for line in told.splitlines() if len(line.rstrip()) > width and "/" not in line]
    assert not long


@pytest.mark.parametrize("verb", VERBS)
def test_where_there_is_no_terminal_a_row_is_one_line(
    verb: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, whole = VERBS[verb]
    monkeypatch.chdir(place)
    monkeypatch.delenv("COLUMNS", raising=False)
    main(arguments)
    told = capsys.readouterr().out
    assert "…" not in told
    assert "\x1b" not in told
    for word in whole:
        assert word in " ".join(told.split())


def shown(width: int, *, terminal: bool = True, optional: tuple[str, ...] = ()) -> str:
    table = plain_table()
    table.add_column("build")
    for heading in ("mean-error", "batch 1"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row(Name("pruned-0.7x-int8-matmul-openvino"), "0.006315 ± 0.00033", "0.0422 ms (0.0182–0.0827)")
    table.add_row(Name("fp32"), "–", "0.05 ms")
    written = StringIO()
    print_table(
        Console(file=written, width=width, force_terminal=terminal, no_color=True), table, optional=optional
    )
    return "\n".join(line.rstrip() for line in _without_colours(written.getvalue()).splitlines())


def test_a_wide_terminal_shows_a_row_in_one_line() -> None:
    assert shown(80).splitlines()[2:] == [
        "pruned-0.7x-int8-matmul-openvino  0.006315 ± 0.00033  0.0422 ms (0.0182–0.0827)",
        "fp32                                               –                    0.05 ms",
    ]


def test_names_wrap_after_their_hyphens_where_room_is_short() -> None:
    assert shown(64).splitlines()[2:] == [
        "pruned-0.7x-int8-  0.006315 ± 0.00033  0.0422 ms (0.0182–0.0827)",
        "matmul-openvino",
        "fp32                                –                    0.05 ms",
    ]


def test_a_row_becomes_a_block_where_no_wrapping_helps() -> None:
    assert shown(50).splitlines() == [
        "pruned-0.7x-int8-matmul-openvino",
        "  mean-error  0.006315 ± 0.00033",
        "  batch 1     0.0422 ms (0.0182–0.0827)",
        "fp32",
        "  batch 1     0.05 ms",
    ]


def test_columns_that_matter_least_are_left_out_and_named() -> None:
    assert shown(45, optional=("mean-error",)).splitlines()[2:] == [
        "pruned-0.7x-int8-   0.0422 ms (0.0182–0.0827)",
        "matmul-openvino",
        "fp32                                  0.05 ms",
        "left out where the terminal is narrow:",
        "mean-error",
    ]


def test_off_a_terminal_a_table_is_as_wide_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert shown(20, terminal=False) == shown(80)
    monkeypatch.setenv("COLUMNS", "50")
    assert shown(50, terminal=False) == shown(50)


@pytest.mark.parametrize(
    ("ratio", "told"), [(1.0, " 1.00×"), (9.99, " 9.99×"), (12.34, " 12.3×"), (345.6, " 346×")]
)
def test_a_large_ratio_takes_no_more_room_than_a_small_one(ratio: float, told: str) -> None:
    """On a busy machine a build may take many times as long as fp32."""
    assert _latency_cell(latency(ratio, p50_ms=0.0213)).rstrip() == f"0.0213{told}"
    assert len(_latency_cell(latency(ratio, p50_ms=0.0213))) == 12
