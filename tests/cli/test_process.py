"""A command's exit code and its standard output, whatever the code of the user does to the process."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.cli import main
from compress.data import open_data
from compress.errors import DataError, MetricError
from compress.metrics.custom import from_callable
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples

USERS_CODE = """
import atexit, os, sys
import numpy as np

class Odd(BaseException):
    pass

def rows():
    with np.load("rows.npz") as held:
        return held["x"], held["y"]

def leaves(): sys.exit(0)
def leaves_while_it_iterates():
    yield rows()
    sys.exit(0)
def odd(): raise Odd("beyond Exception")
def vanishes(): os._exit(0)
def becomes_another(): os.execvp("true", ["true"])
def killed(): os.kill(os.getpid(), 9)
def vanishes_later():
    atexit.register(os._exit, 0)
    return rows()

def score_leaves(outputs, targets): sys.exit(0)
def score_vanishes(outputs, targets): os._exit(0)

def waits():
    import signal, time
    def interrupted(*_):
        os.write(descriptor, b"interrupted\\n")
    signal.signal(signal.SIGINT, interrupted)
    descriptor = os.open("told.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, b"%d\\n" % os.getpid())
    end = time.monotonic() + 300
    while time.monotonic() < end and not os.path.exists("enough"):
        time.sleep(0.05)
    sys.exit(0)

def network_vanishes(): os._exit(0)
def network():
    import torch
    class Leaves(torch.nn.Linear):
        def forward(self, x): sys.exit(0)
    return Leaves(4, 2)

def prints():
    print("by Python")
    os.write(1, b"below Python\\n")
    sys.__stdout__.write("by the other name\\n")
    os.system("echo by a child")
    atexit.register(print, "at the end")
    atexit.register(os.write, 1, b"below, at the end\\n")
    return rows()
def printing_network():
    import torch
    print('by Python')
    return torch.nn.Linear(4, 2)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("process")
    save_model(classifier(), directory / "net.onnx")
    wrong = classifier()
    wrong.graph.initializer[4].raw_data = np.frombuffer(wrong.graph.initializer[4].raw_data, np.float32)[
        ::-1
    ].tobytes()
    save_model(wrong, directory / "wrong.onnx")
    from onnx.reference import ReferenceEvaluator

    x = samples(400)
    (scores,) = ReferenceEvaluator(classifier()).run(None, {"x": x})
    np.savez(directory / "rows.npz", x=x, y=scores.argmax(1).astype(np.int64))
    torch.save(torch.nn.Linear(4, 2).state_dict(), directory / "weights.pt")
    (directory / "ends.py").write_text(USERS_CODE)
    (directory / "policy.toml").write_text('checks = ["accuracy"]\n')
    return directory


def compress(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "compress", *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def gate(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return compress(
        place, "gate", "wrong.onnx", "--baseline", "net.onnx", "--policy", "policy.toml", *arguments
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data", "ends:leaves"), "SystemExit(0)"),
        (("--data", "ends:leaves_while_it_iterates"), "SystemExit(0)"),
        (("--data", "ends:odd"), "Odd(beyond Exception)"),
        (("--data", "ends:becomes_another"), "ended before, with 0"),
        (("--data", "ends:killed"), "SIGKILL"),
        (("--data", "rows.npz", "--metric", "ends:score_leaves"), "SystemExit(0)"),
        (("--data", "rows.npz", "--metric", "ends:score_vanishes"), "ended before, with 0"),
    ],
)
def test_code_that_ends_the_process_is_no_verdict(place: Path, arguments: tuple[str, ...], told: str) -> None:
    done = gate(place, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_verdict_stands_whatever_happens_while_python_ends(place: Path) -> None:
    done = gate(place, "--data", "ends:vanishes_later")
    assert "verdict: fail" in done.stdout
    assert done.returncode == 1


def test_the_verdict_is_that_of_the_checks_where_nobody_reads_it(place: Path) -> None:
    command = [sys.executable, "-P", "-m", "compress", "gate", "wrong.onnx", "--baseline", "net.onnx"]
    command += ["--policy", "policy.toml", "--data", "rows.npz"]
    running = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.close()
    running.communicate()
    assert running.returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "weights.pt", "--shape", "input=1x4", "--factory", "ends:network"),
        ("profile", "net.onnx", "--data", "ends:leaves"),
    ],
)
def test_every_command_ends_with_2(place: Path, arguments: tuple[str, ...]) -> None:
    done = compress(place, *arguments)
    assert done.returncode == 2
    assert "SystemExit(0)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("optimize", "net.onnx", "--data", "ends:vanishes"),
        ("optimize", "net.onnx", "--data", "rows.npz", "--train-data", "ends:vanishes"),
        ("optimize", "net.onnx", "--data", "rows.npz", "--metric", "ends:score_vanishes"),
        ("quantize", "net.onnx", "--data", "ends:vanishes", "--out", "vanished.onnx"),
        ("profile", "net.onnx", "--data", "ends:vanishes"),
        ("profile", "net.onnx", "--data", "rows.npz", "--metric", "scores=ends:score_vanishes"),
        ("prune", "net.onnx", "--data", "ends:vanishes", "--ratio", "0.5", "--out", "vanished.onnx"),
        (
            "distill",
            "net.onnx",
            "--train-data",
            "ends:vanishes",
            "--data",
            "rows.npz",
            "--student",
            "net.onnx",
        ),
        ("inspect", "weights.pt", "--shape", "input=1x4", "--factory", "ends:network_vanishes"),
        (
            "lint",
            "weights.pt",
            "--target",
            "cpu",
            "--shape",
            "input=1x4",
            "--factory",
            "ends:network_vanishes",
        ),
    ],
)
def test_a_process_that_vanishes_is_no_success(place: Path, arguments: tuple[str, ...]) -> None:
    done = compress(place, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(
        "error: wanted a result; found that the process ended before, with 0;"
    )


def _waiting(place: Path) -> int:
    """The process in which code of the user waits."""
    told, end = place / "told.txt", time.monotonic() + 300
    while not (told.exists() and told.read_text().endswith("\n")):
        assert time.monotonic() < end
        time.sleep(0.05)
    return int(told.read_text().split()[0])


def _ended(process: int) -> bool:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for it")
def test_where_the_process_that_waits_is_killed_the_other_ends(place: Path) -> None:
    (place / "told.txt").unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "compress", "profile", "net.onnx", "--data", "ends:waits"]
    with subprocess.Popen(command, cwd=place, stderr=subprocess.DEVNULL) as running:
        worker = _waiting(place)
        assert worker != running.pid
        running.kill()
        assert _ended(worker)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="asks who sent a signal")
def test_a_terminals_interrupt_comes_once_and_a_processs_too(place: Path) -> None:
    (place / "told.txt").unlink(missing_ok=True)
    (place / "enough").unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "compress", "profile", "net.onnx", "--data", "ends:waits"]
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(place)
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # a shell that runs the suite in the background ignores it
        os.execv(command[0], command)
    _waiting(place)
    os.write(terminal, b"\x03")
    _told(place, 1)
    while _has_waiting_interrupt(process):  # a signal that comes while one waits is one with it
        time.sleep(0.05)
    os.kill(process, signal.SIGINT)
    _told(place, 2)
    (place / "enough").touch()
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 2
    assert (place / "told.txt").read_text().count("interrupted") == 2


def _has_waiting_interrupt(process: int) -> bool:
    """Whether an interrupt was sent to a process that it has not taken; False where the system has no /proc."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        time.sleep(1)
        return False
    sets = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(waiting >> (signal.SIGINT - 1) & 1 for waiting in sets)


def _told(place: Path, times: int) -> None:
    end = time.monotonic() + 120
    while (place / "told.txt").read_text().count("interrupted") < times:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_code_prints_never_reaches_the_result(place: Path) -> None:
    arguments = ("--baseline", "net.onnx", "--policy", "policy.toml", "--data", "ends:prints", "--json")
    done = compress(place, "gate", "net.onnx", *arguments)
    assert json.loads(done.stdout)["verdict"] == "pass"
    for told in ("by Python", "below Python", "by the other name", "by a child", "at the end"):
        assert told in done.stderr
    assert "below, at the end" in done.stderr


def test_a_factory_that_prints_leaves_one_json_object_of_lint(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    arguments = ["--target", "cpu", "--shape", "input=1x4", "--factory", "ends:printing_network"]
    assert main(["lint", "weights.pt", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


def test_a_full_disk_is_told(place: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with full.open("w") as out:
        command = [sys.executable, "-m", "compress", "targets", "--json"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "standard output" in done.stderr


def test_in_python_it_is_an_error_of_what_was_given() -> None:
    def leave(*_: object) -> None:
        sys.exit(0)

    def batches() -> object:
        yield np.zeros((2, 3), np.float32)
        sys.exit(0)

    with pytest.raises(DataError, match=r"SystemExit\(0\)"):
        open_data(batches())
    with pytest.raises(MetricError, match=r"SystemExit\(0\)"):
        from_callable(leave).per_sample([np.zeros((2, 3))], np.zeros(2), None)
