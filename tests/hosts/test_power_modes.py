"""A sweep over a board's power modes, which ends as it was found; its tools are stand-ins, the ssh server is real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from compress.backends.trtexec import DEFAULTS
from compress.cli import main
from compress.cli.plain_rich import PlainConsole
from compress.cli.profile_tables import power_mode_table
from compress.cli.tables import print_table
from compress.errors import UnavailableError
from compress.hosts import power_modes, tensorrt
from compress.hosts.lock import Lock
from compress.hosts.power_modes import PowerMode, PowerModes, modes_in
from compress.hosts.ssh import SshShell
from compress.measuring.power_modes import InPowerMode, PowerModeSweep
from compress.onnx_graph.files import save_model
from compress.records.schemas import schema_text
from tests.graphs import classifier, samples
from tests.hosts.standin_board import StandInBoard
from tests.records import profile as recorded

FIFTEEN, FULL = PowerMode(0, "15W"), PowerMode(2, "MAXN_SUPER")


@pytest.fixture
def files(tmp_path: Path, board: StandInBoard, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(DEFAULTS, "builds", 1)
    (board.play / "clocks").unlink(missing_ok=True)
    save_model(classifier(), tmp_path / "model.onnx")
    x = samples(12)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(12) % 4)
    return tmp_path


def told(board: StandInBoard) -> str:
    return (board.play / "power").read_text()


def state(board: StandInBoard) -> Path:
    return board.home / power_modes.PLACE


def until(true: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


def swept(files: Path, *more: str) -> list[str]:
    host = ["--target", "jetson", "--host", "board", "--seconds", "0.05", "--batch", "1", "--power-modes"]
    return ["profile", str(files / "model.onnx"), "--data", str(files / "data.npz"), *host, *more]


@pytest.mark.slow
def test_each_mode_has_accuracy_latency_and_energy_and_the_board_is_as_it_was(
    files: Path, board: StandInBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    (board.play / "power").write_text("NV Power Mode: MAXN_SUPER\n2\n")
    board.fault("long", "restart")
    assert main(swept(files, "--json", "--out", str(files / "sweep.json"))) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, json.loads(schema_text("power-modes")))
    assert json.loads((files / "sweep.json").read_text()) == found
    assert found["found"] == "MAXN_SUPER"
    assert [each["name"] for each in found["modes"]] == ["15W", "25W", "MAXN_SUPER", "7W"]
    *measured, last = found["modes"]
    assert last["profile"] is None
    assert last["reason"] == "it needs a restart of the board"
    for each in measured:
        profile = each["profile"]
        assert profile["fingerprint"]["power_mode"] == each["name"]
        assert profile["accuracy"] == measured[0]["profile"]["accuracy"]
        assert profile["accuracy"] is not None
        assert profile["energy_mj"] == pytest.approx(6.12 * profile["latency"][0]["p50_ms"])
    assert told(board) == "NV Power Mode: MAXN_SUPER\n2\n"
    assert not state(board).exists()
    assert not board.cache.exists()


def test_a_table_tells_each_mode(capsys: pytest.CaptureFixture[str]) -> None:
    measured = replace(recorded(), energy_mj=12.0)
    swept = PowerModeSweep(
        FIFTEEN, (InPowerMode(FIFTEEN, measured), InPowerMode(FULL, reason="it needs a restart of the board"))
    )
    print_table(PlainConsole(width=140), power_mode_table(swept))
    out = capsys.readouterr().out
    assert "15W *" in out
    assert f"{12.0 / measured.latency[0].p50_ms:.3g}" in out
    assert "it needs a restart of the board" in out


def test_where_no_mode_may_be_set_the_way_out_is_told(
    files: Path, board: StandInBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    board.fault("password")
    assert main(swept(files)) == 4
    assert "a password is required" in (error := capsys.readouterr().err)
    assert "sudoers" in error
    assert not state(board).exists()


@pytest.mark.parametrize("more", [["--scenario", "offline"], ["--threads", "1"]])
def test_what_has_no_power_modes_is_told(
    files: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(swept(files, *more)) == 2
    assert main(["profile", str(files / "model.onnx"), "--power-modes"]) == 2
    assert "--host" in capsys.readouterr().err


def test_a_failure_puts_the_board_back(
    files: Path, board: StandInBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (board.play / "power").write_text("NV Power Mode: MAXN_SUPER\n2\n")

    def fails(host: tensorrt.TensorRtHost, *_: object) -> None:
        if host.board.power_mode == "25W":
            raise UnavailableError("a", "b", "c")

    monkeypatch.setattr(tensorrt.TensorRtHost, "doubts", lambda host, build: fails(host) or ())
    assert main(swept(files)) == 4
    assert told(board) == "NV Power Mode: MAXN_SUPER\n2\n"
    assert not state(board).exists()


KILLED = """
import os, signal, sys
from compress.hosts.lock import Lock
from compress.hosts.power_modes import PowerMode, PowerModes
from compress.hosts.ssh import SshShell
shell = SshShell("board")
lock = Lock(shell, sys.argv[1])
with lock.held():
    modes = PowerModes(shell, lock, clocks_locked=True)
    with modes.put_back():
        assert modes.set(PowerMode(1, "25W")) is None
        print("set", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_the_board_puts_itself_back(files: Path, board: StandInBoard) -> None:
    """Whoever held it is silent: its lock goes stale, here by a clock that is put back."""
    (board.play / "power").write_text("NV Power Mode: MAXN_SUPER\n2\n")
    lock = files / "board.lock"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(lock)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert told(board) == "NV Power Mode: 25W\n1\n"
    time.sleep(3)
    assert told(board) == "NV Power Mode: 25W\n1\n"  # it may only have lost its connection
    os.utime(lock / "beat", (1, 1))
    assert until(lambda: not state(board).exists())
    assert told(board) == "NV Power Mode: MAXN_SUPER\n2\n"
    clocks = (board.play / "clocks").read_text().splitlines()
    assert [each.split()[0] if each else "" for each in clocks] == ["--store", ""]


def test_what_watched_an_ended_sweep_leaves_the_next_one_alone(files: Path, board: StandInBoard) -> None:
    """It sleeps for two seconds at a time, and wakes up when the board is another's."""
    (board.play / "power").write_text("NV Power Mode: MAXN_SUPER\n2\n")
    shell = SshShell("board")
    for wait in (0, 4):
        lock = Lock(shell, str(files / "board.lock"))
        with lock.held():
            modes = PowerModes(shell, lock, clocks_locked=False)
            with modes.put_back():
                assert modes.set(PowerMode(1, "25W")) is None
                time.sleep(wait)
                assert told(board) == "NV Power Mode: 25W\n1\n"
        assert told(board) == "NV Power Mode: MAXN_SUPER\n2\n"


def test_a_board_that_was_restarted_meanwhile_is_put_back_by_the_next_who_connects(
    files: Path, board: StandInBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    (board.play / "power").write_text("NV Power Mode: 25W\n1\n")
    state(board).mkdir(parents=True)
    (state(board) / "mode").write_text("2\n")
    (state(board) / "guard").write_text("999999999\n")
    with SshShell("board") as shell:
        assert power_modes.recover(shell) == "2"
        assert power_modes.recover(shell) is None
    assert told(board) == "NV Power Mode: MAXN_SUPER\n2\n"
    assert not state(board).exists()


def test_a_sweep_within_an_interrupted_one_keeps_what_was_found_first(
    files: Path, board: StandInBoard
) -> None:
    (board.play / "power").write_text("NV Power Mode: 25W\n1\n")
    state(board).mkdir(parents=True)
    (state(board) / "mode").write_text("2\n")
    with SshShell("board") as shell:
        lock = Lock(shell, str(files / "lock"))
        with lock.held(), PowerModes(shell, lock, clocks_locked=False).put_back():
            pass
    assert told(board) == "NV Power Mode: MAXN_SUPER\n2\n"


def test_a_lock_may_be_held_inside_of_itself(files: Path, board: StandInBoard) -> None:
    path = files / "lock"
    with SshShell("board") as shell:
        lock = Lock(shell, str(path))
        with lock.held():
            with lock.held():
                assert path.exists()
            assert path.exists()
    assert not path.exists()


def test_modes_are_read_from_the_tool_and_from_its_configuration() -> None:
    text = "NVPM VERB: POWER_MODEL: ID=2 NAME=MAXN_SUPER\nNVPM VERB: POWER_MODEL: ID=0 NAME=15W\n"
    assert modes_in(text) == (FIFTEEN, FULL)
    assert modes_in("< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n") == (FIFTEEN,)
    assert modes_in("command not found") == ()
