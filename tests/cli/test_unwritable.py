"""An output that cannot be written is told before anything is read: the networks named here do not exist."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.cli import main
from compress.core.replacing import check_replaceable
from compress.errors import OutputError

#: Each command that writes a file, up to the file's name.
COMMANDS = [
    ["profile", "nowhere.onnx", "--out"],
    ["gate", "nowhere.onnx", "--baseline", "nowhere.json", "--junit"],
    ["gate", "nowhere.onnx", "--baseline", "nowhere.json", "--markdown"],
    ["lint", "nowhere.onnx", "--target", "cpu", "--fix"],
    ["lint", "nowhere.onnx", "--target", "cpu", "--sarif"],
    ["predict", "nowhere", "nothing.npy", "--out"],
    ["report", "nowhere", "--html"],
    ["report", "nowhere", "--markdown"],
    ["report", "nowhere", "--svg"],
    ["compare", "nowhere", "nowhere", "--html"],
    ["history", "nowhere", "--markdown"],
    ["quantize", "nowhere.onnx", "--data", "nothing.npz", "--out"],
    ["prune", "nowhere.onnx", "--data", "nothing.npz", "--out"],
    [
        "distill",
        "nowhere.onnx",
        "--student",
        "nowhere.onnx",
        "--data",
        "nothing.npz",
        "--train-data",
        "nothing.npz",
        "--out",
    ],
]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory on a disk without room."""
    place = tmp_path_factory.mktemp("full")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        with pytest.raises(OSError, match="No space left"), (place / "filling").open("wb") as file:
            file.write(bytes(1 << 20))
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def words(command: list[str]) -> str:
    return f"{command[0]} {command[-1]}"


@pytest.mark.parametrize("command", COMMANDS, ids=words)
def test_no_directory_is_told_first(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none" / "file.onnx"
    assert main([*command, str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path.parent) in line
    assert "nowhere" not in line


@pytest.mark.parametrize("command", COMMANDS, ids=words)
def test_a_full_disk_is_told_first(
    command: list[str], full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = full / "file.onnx"
    assert main([*command, str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: No space left on device" in line
    assert [each.name for each in full.iterdir()] == ["filling"]


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    check_replaceable(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="Is a directory"):
        check_replaceable(tmp_path)


def run(arguments: list[str], redirected: str) -> subprocess.CompletedProcess[str]:
    """The command line, with a shell's redirection of its streams."""
    command = [sys.executable, "-m", "compress", *arguments]
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirected}', "sh", *command], capture_output=True, text=True, check=False
    )


def test_a_closed_standard_output_is_told_first() -> None:
    done = run(["profile", "nowhere.onnx"], ">&-")
    assert done.returncode == 2
    assert done.stderr == (
        "error: wanted standard output for the result; found that it is closed; send it to a file, or to /dev/null\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_standard_output_is_told_first() -> None:
    done = run(["profile", "nowhere.onnx"], "> /dev/full")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "a result on standard output; found No space left on device" in line


def test_standard_output_on_a_full_disk_is_told_first(full: Path) -> None:
    done = run(["profile", "nowhere.onnx"], f"> {full}/out.txt")
    (full / "out.txt").unlink()
    assert done.returncode == 2
    assert "a result on standard output; found No space left on device" in done.stderr


def test_a_closed_standard_error_changes_no_exit_code() -> None:
    done = run(["profile", "nowhere.onnx"], "2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_an_output_in_latin_1_is_written() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compress", "targets"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert "raspberry-pi-5" in done.stdout.decode("latin-1")
