"""The shell behind ssh, against a real sshd on the loopback interface."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from compress.errors import ConnectionLostError, UnavailableError, UsageError
from compress.hosts.shell import LocalShell
from compress.hosts.ssh import SshShell
from compress.hosts.transfer import receive, remote_sha256, send
from tests.hosts.standin_board import StandInBoard


def test_commands_run_in_the_home_there(board: StandInBoard) -> None:
    with SshShell("board") as shell:
        done = shell.run('printf %s "$HOME"; cat; echo oops >&2; exit 3', b" input")
    assert (done.code, done.text, done.errors.strip()) == (3, f"{board.home} input", "oops")


def test_one_connection_serves_all_commands(board: StandInBoard) -> None:
    with SshShell("board") as shell:
        for _ in range(3):
            shell.run("true")
        assert len(board.connections()) == 1


def test_forgotten_shell_leaves_no_connection(board: StandInBoard) -> None:
    shell = SshShell("board")
    process = shell._master
    assert process is not None
    del shell
    gc.collect()
    process.wait(timeout=120)  # Raises where it goes on.


def test_dropped_connection_is_opened_again(board: StandInBoard) -> None:
    with SshShell("board", pauses=(0.05, 0.5)) as shell:
        board.drop()
        assert shell.run("echo back").text == "back\n"


def test_connection_that_stays_away_is_told(board: StandInBoard) -> None:
    with SshShell("board", pauses=(0.01,)) as shell:
        board.drop()
        board.refuse()
        with pytest.raises(ConnectionLostError, match="what was measured is kept"):
            shell.run("true")


def test_unknown_host_key_is_refused(board: StandInBoard) -> None:
    known = board.home.parent / "keys" / "known"
    content = known.read_text()
    known.write_text("")
    try:
        with pytest.raises(UnavailableError, match="ost key verification failed"):
            SshShell("board")
    finally:
        known.write_text(content)


@pytest.mark.parametrize("address", ["", "-oProxyCommand=touch /tmp/x", "a board"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="--host"):
        SshShell(address)


def test_files_arrive_whole_whatever_they_are_called(board: StandInBoard, tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    name = "it's $(touch x); a name"
    with SshShell("board") as shell:
        send(shell, tmp_path / "file", f"{board.home}/{name}")
        assert receive(shell, f"{board.home}/{name}") == content
        assert remote_sha256(shell, f"{board.home}/nothing") is None
    assert (board.home / name).read_bytes() == content
    assert not (board.home / "x").exists()


def test_transfer_goes_on_where_it_stopped(board: StandInBoard, tmp_path: Path) -> None:
    """Half of it is there and the connection drops: the rest is sent, and the whole is what was meant."""
    (tmp_path / "file").write_bytes(bytes(range(256)) * 12_000)

    class Dropping(SshShell):
        drops = 2

        def run(self, command, stdin=b"", seconds=60.0):  # type: ignore[no-untyped-def]
            if not isinstance(stdin, bytes) and self.drops:
                self.drops -= 1
                super().run(command, stdin.read(1_000_000))
                board.drop()
                raise ConnectionLostError("an answer", "none", "try again")
            return super().run(command, stdin, seconds)

    with Dropping("board", pauses=(0.05, 0.5)) as shell:
        send(shell, tmp_path / "file", f"{board.home}/whole")
        assert shell.drops == 0
    assert (board.home / "whole").read_bytes() == (tmp_path / "file").read_bytes()


def test_transfer_that_is_cut_every_time_says_so_and_keeps_what_arrived(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 40)

    class Cut(LocalShell):
        cuts = 0

        def run(self, command, stdin=b"", seconds=60.0):  # type: ignore[no-untyped-def]
            if isinstance(stdin, bytes):
                return super().run(command, stdin, seconds)
            self.cuts += 1
            super().run(command, stdin.read(1000))
            raise ConnectionLostError("an answer", "none", "try again")

    shell = Cut()
    with pytest.raises(ConnectionLostError):
        send(shell, tmp_path / "file", str(tmp_path / "there"))
    assert not (tmp_path / "there").exists()
    arrived = (tmp_path / "there.partial").read_bytes()
    assert 1000 < len(arrived) == 1000 * shell.cuts
    assert (tmp_path / "file").read_bytes().startswith(arrived)


def test_place_that_cannot_be_written_is_told(board: StandInBoard, tmp_path: Path) -> None:
    from compress.errors import OutputError

    (tmp_path / "file").write_bytes(b"x")
    with SshShell("board") as shell, pytest.raises(OutputError, match="board"):
        send(shell, tmp_path / "file", "/proc/nowhere/file")
