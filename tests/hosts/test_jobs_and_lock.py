"""Jobs that outlive a connection, and the lock between users: in this machine's shell, and behind a real sshd."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.errors import ConnectionLostError, OutputError, UnavailableError
from compress.hosts import jobs
from compress.hosts import lock as lock_module
from compress.hosts.jobs import run_job
from compress.hosts.lock import Lock
from compress.hosts.shell import LocalShell, Shell
from compress.hosts.ssh import SshShell
from tests.hosts.standin_board import StandInBoard


@pytest.fixture
def behind_ssh(board: StandInBoard) -> Iterator[SshShell]:
    with SshShell("board", pauses=(0.05, 0.5, 1.0)) as opened:
        yield opened


@pytest.fixture(params=["local", "ssh"])
def shell(request: pytest.FixtureRequest) -> Shell:
    """The shell of this machine, or of a board; the second is skipped where there is no sshd."""
    found: Shell = LocalShell() if request.param == "local" else request.getfixturevalue("behind_ssh")
    return found


def test_job_tells_how_it_ended(shell: Shell, tmp_path: Path) -> None:
    ended = run_job(shell, str(tmp_path), "one", ["sh", "-c", "echo out; echo err >&2; exit 7"], 30)
    assert (ended.code, ended.output, ended.errors, ended.late) == (7, "out\n", "err\n", False)


def test_hung_job_is_ended(shell: Shell, tmp_path: Path) -> None:
    ended = run_job(shell, str(tmp_path), "hung", ["sleep", "3600"], 1)
    assert ended.late
    assert ended.code == 137


def test_job_survives_a_dropped_connection_and_runs_once(
    behind_ssh: SshShell, tmp_path: Path, board: StandInBoard
) -> None:
    script = f"echo started >>runs; kill -9 {' '.join(map(str, board.connections()))}; sleep 1; echo done"
    ended = run_job(behind_ssh, str(tmp_path), "job", ["sh", "-c", script], 30)
    assert (ended.code, ended.output) == (0, "done\n")
    assert (tmp_path / "runs").read_text() == "started\n"


def test_files_of_an_earlier_job_are_not_taken_for_this_one(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text("old")
    run_job(shell, str(tmp_path), "job", ["true"], 30, writes=["times.json"])
    assert not (tmp_path / "times.json").exists()


def test_job_has_its_variables_besides_those_of_the_shell(shell: Shell, tmp_path: Path) -> None:
    script = ["sh", "-c", 'printf %s "$COMPRESS_GIVEN"; [ -n "$PATH" ]']
    ended = run_job(
        shell, str(tmp_path), "job", script, 30, environment={"COMPRESS_GIVEN": "it's $(one) word"}
    )
    assert (ended.code, ended.output) == (0, "it's $(one) word")


def test_holder_is_heard_of_while_a_job_is_waited_for(tmp_path: Path) -> None:
    run_job(LocalShell(), str(tmp_path), "job", ["true"], 30, beat=f"echo beat >>{tmp_path}/beats")
    assert (tmp_path / "beats").read_text().startswith("beat\n")


def test_job_that_vanished_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart of the machine: neither the job's own shell is there nor its exit status."""
    monkeypatch.setattr(jobs, "_WAIT", 1)
    with pytest.raises(UnavailableError) as error:
        run_job(LocalShell(), str(tmp_path), "job", ["sh", "-c", "kill -9 $PPID"], 1)
    assert (error.value.wanted, error.value.found, error.value.todo) == (
        "sh to end on local",
        "it vanished without an exit status",
        "see whether the machine was restarted, and give the same command again",
    )


def test_place_without_write_permission_is_told(shell: Shell) -> None:
    with pytest.raises(OutputError, match=shell.name):
        run_job(shell, "/proc/nowhere", "job", ["true"], 30)


def test_program_beside_a_job_ends_with_it(behind_ssh: SshShell, tmp_path: Path) -> None:
    beside = ["sh", "-c", "echo $$ >beside.pid; exec sleep 3600"]
    run_job(behind_ssh, str(tmp_path), "job", ["sleep", "0.5"], 30, beside=beside)
    pid = (tmp_path / "beside.pid").read_text().strip()
    assert (
        behind_ssh.run(f"for i in 1 2 3 4 5; do kill -0 {pid} || exit 0; sleep 0.2; done; exit 1").code == 0
    )


def test_watchdog_of_a_job_ends_with_it(tmp_path: Path) -> None:
    run_job(LocalShell(), str(tmp_path), "job", ["true"], 1)
    time.sleep(1.5)
    assert not (tmp_path / "job" / "late").exists()


def test_two_users_take_turns(shell: Shell, tmp_path: Path) -> None:
    path, told, order = str(tmp_path / "it's a lock"), [], []
    second = Lock(shell, path, on_wait=told.append)

    def work() -> None:
        with second.held():
            order.append("second")

    thread = threading.Thread(target=work)
    with Lock(shell, path).held():
        thread.start()
        while not told:
            thread.join(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert len(told) == 1
    assert not Path(path).exists()


def test_lock_of_another_is_not_waited_for_for_ever(shell: Shell, tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with (
        Lock(shell, path).held(),
        pytest.raises(UnavailableError, match="in use by"),
        Lock(shell, path, wait_seconds=0).held(),
    ):
        pass


def test_silent_holder_loses_the_lock_and_does_not_remove_the_new_one(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    gone, next_one = Lock(shell, str(path)), Lock(shell, str(path), wait_seconds=0)
    with gone.held():
        (path / "beat").write_text("1000\n")
        with next_one.held():
            token = (path / "token").read_text()
            shell.run(gone.beat)
            gone._release()
            assert (path / "token").read_text() == token
            assert (path / "beat").read_text() != "1000\n"


def test_holder_that_is_heard_of_keeps_it(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = Lock(shell, str(path))
    with holder.held():
        (path / "beat").write_text("1000\n")
        shell.run(holder.beat)
        with pytest.raises(UnavailableError), Lock(shell, str(path), wait_seconds=0).held():
            pass


def test_lost_connection_is_told_and_leaves_the_lock_to_go_stale(tmp_path: Path) -> None:
    """Whoever cannot reach the board cannot give the lock back either, and does not wait for it once more."""
    path = tmp_path / "lock"
    with pytest.raises(ConnectionLostError), Lock(LocalShell(), str(path)).held():
        raise ConnectionLostError("an answer", "none", "try again")
    assert path.exists()


def test_any_other_error_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(UnavailableError), Lock(LocalShell(), str(path)).held():
        raise UnavailableError("an answer", "none", "try again")
    assert not path.exists()


def test_lock_is_where_every_user_finds_it() -> None:
    assert lock_module.PATH.startswith("/tmp/")
