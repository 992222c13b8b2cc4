"""Accounts as people have them, behind a real sshd: startup files that print, csh, restricted shells, forced commands.

Each stands as a forced command of the key, which gets the command line in ``SSH_ORIGINAL_COMMAND`` and gives it to the
shell of the case, as sshd gives it to the account's.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.errors import UnavailableError
from compress.hosts import ssh as ssh_module
from compress.hosts.jobs import run_job
from compress.hosts.marked import Marks
from compress.hosts.shell import execute
from compress.hosts.ssh import SshShell
from compress.hosts.transfer import receive, send
from tests.hosts.standin_board import StandInBoard

SCRIPT = 'printf %s "$HOME!"; cat\necho "it\'s `echo `ödd" >&2; exit 3'


@pytest.fixture
def log_in_by(board: StandInBoard, tmp_path: Path) -> Iterator[object]:
    """A function that makes a line of sh what a login runs."""
    key = (board.home.parent / "keys" / "user.pub").read_text()

    def forced(line: str) -> None:
        program = tmp_path / "login"
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
        (board.home.parent / "keys" / "authorized").write_text(f'command="{program}" {key}')

    yield forced
    board.admit()


def of(shell: str, *options: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs {shell}")
    return f'exec {shlex.join([path, *options, "-c"])} "$SSH_ORIGINAL_COMMAND"'


PRINTS = "echo Welcome to board; printf 'no end of line'; echo 'stty: standard input' >&2"


@pytest.mark.parametrize("shell", ["sh", "bash", "rbash", "csh", "tcsh", "fish", "zsh", "prints", "shows"])
def test_commands_run_whatever_the_login_shell(
    board: StandInBoard, log_in_by: object, tmp_path: Path, shell: str
) -> None:
    assert callable(log_in_by)
    log_in_by(
        f"{PRINTS}; {of('bash')}"
        if shell == "prints"
        else of("bash", "-xv")
        if shell == "shows"
        else of(shell)
    )
    content = bytes(range(256)) * 2000
    (tmp_path / "file").write_bytes(content)
    with SshShell("board") as opened:
        done = opened.run(SCRIPT, b" input")
        assert (done.code, done.text, done.errors) == (3, f"{board.home}! input", "it's ödd\n")
        send(opened, tmp_path / "file", f"{board.home}/it's there!")
        assert receive(opened, f"{board.home}/it's there!") == content
        ended = run_job(opened, str(tmp_path), "job", ["sh", "-c", "echo out!; exit 7"], 30)
        assert (ended.code, ended.output) == (7, "out!\n")


@pytest.mark.parametrize(
    "line, told",
    [
        ("echo 'This account is currently not available.'; exit 1", "This account is currently not available."),
        ("echo 'fatal: unrecognized command' >&2; exit 128", "fatal: unrecognized command"),
        ("exit 0", "it ended without an answer"),
        ("echo backup done", "backup done"),
        ("sleep 3600", "no answer within 1 s"),
        ("sh -c \"$SSH_ORIGINAL_COMMAND\" >/dev/null", "it ended without an answer"),
    ],
    ids=["nologin", "git-shell", "nothing", "forced command", "waits for a person", "no output"],
)  # fmt: skip
def test_account_that_runs_no_command_is_told_for_what_it_is(
    board: StandInBoard, log_in_by: object, monkeypatch: pytest.MonkeyPatch, line: str, told: str
) -> None:
    assert callable(log_in_by)
    monkeypatch.setattr(ssh_module, "_FIRST_ANSWER", 1.0 if line.startswith("sleep") else 20.0)
    log_in_by(line)
    with pytest.raises(UnavailableError) as error:
        SshShell("board")
    assert (error.value.wanted, error.value.found) == (
        "a login on board that runs commands in a POSIX shell",
        told,
    )
    assert error.value.todo.endswith("ssh board sh -c true")


def test_remote_command_of_the_configuration_is_left_out(
    board: StandInBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A RemoteCommand in the user's ssh configuration, as people have who start tmux with ssh, is not run."""
    config = Path(shlex.split(board.ssh)[2]).read_text()
    (tmp_path / "config").write_text(f"{config}  RemoteCommand echo tmux\n  RequestTTY yes\n")
    monkeypatch.setenv("COMPRESS_SSH", f"ssh -F {tmp_path / 'config'}")
    with SshShell("board") as shell:
        assert shell.run("echo back").text == "back\n"


def test_temporary_directory_that_cannot_be_written_is_not_needed(
    board: StandInBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp

    def refusing(prefix: str, dir: str) -> str:
        if dir == "/tmp":
            raise PermissionError(13, "Permission denied")
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", refusing)
    with SshShell("board") as shell:
        assert shell.run("echo back").text == "back\n"


def test_no_temporary_directory_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(prefix: str, dir: str) -> str:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tempfile, "mkdtemp", refusing)
    with pytest.raises(UnavailableError, match="/tmp: No space left on device"):
        SshShell("board")


def test_no_shell_acts_on_the_command_line() -> None:
    """csh ends quotes at a line's end and acts on "!" within them; fish reads \\' and \\\\ there."""
    line = Marks().command(SCRIPT)
    assert line.isascii()
    assert not set("!\n") & set(line)
    assert line.count("'") == 2
    assert "\\\\" not in line
    assert "\\'" not in line


def test_answer_of_a_shell_that_shows_its_commands_is_not_taken_for_the_mark() -> None:
    marks = Marks()
    code, output, errors = execute(["bash", "-xvc", marks.command("echo out; echo err >&2")], b"", 60)
    assert (code, marks.answer(output)) == (0, b"out\n")
    assert marks.answer(errors.encode()) == b"err\n"
    assert marks.answer(b"Welcome\n") is None
    assert (
        subprocess.run(["sh", "-c", marks.command("exit 3")], capture_output=True, check=False).returncode
        == 3
    )
