"""Jobs that outlive a connection, and the lock between users: in this machine's shell, and behind a real sshd."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO

import pytest

from compress.errors import ConnectionLostError, OutputError, UnavailableError
from compress.hosts import jobs
from compress.hosts import lock as lock_module
from compress.hosts.jobs import run_job
from compress.hosts.lock import Lock
from compress.hosts.shell import Done, LocalShell, Shell, execute
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
    assert (ended.code, ended.late, ended.full) == (137, True, False)


def test_a_job_that_takes_longer_than_a_request_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_WAIT", 1)  # five looks, a quarter of a second in all
    ended = run_job(
        LocalShell(),
        str(tmp_path),
        "job",
        ["sh", "-c", "sleep 1.5; echo done"],
        120,
        beat=f"echo beat >>{tmp_path}/beats",
    )
    assert (ended.code, ended.output, ended.late, ended.full) == (0, "done\n", False, False)
    assert len((tmp_path / "beats").read_text().split()) > 1  # once for each request


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
    gone = f"for try in $(seq 150); do kill -0 {pid} || exit 0; sleep 0.2; done; exit 1"
    assert behind_ssh.run(gone).code == 0


def test_watchdog_of_a_job_ends_with_it(tmp_path: Path) -> None:
    names = map("job{}".format, count())
    # A busy machine may give it no processor within its second.
    name = next(name for name in names if not run_job(LocalShell(), str(tmp_path), name, ["true"], 1).late)
    time.sleep(1.5)
    assert not (tmp_path / name / "late").exists()


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
        os.utime(path / "beat", (1000, 1000))
        with next_one.held():
            token = (path / "token").read_text()
            shell.run(gone.beat)
            gone._release()
            assert (path / "token").read_text() == token
            assert (path / "beat").stat().st_mtime > 1000


def test_holder_that_is_heard_of_keeps_it(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = Lock(shell, str(path))
    with holder.held():
        os.utime(path / "beat", (1000, 1000))
        shell.run(holder.beat)
        with pytest.raises(UnavailableError), Lock(shell, str(path), wait_seconds=0).held():
            pass


class AnotherUser(LocalShell):
    """The shell of a user without rights."""

    def run(self, command: str, stdin: bytes | IO[bytes] = b"", seconds: float = 60.0) -> Done:
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        return Done(*execute([*drop, "sh", "-c", command], stdin, seconds))


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory as /tmp is: all may write, and nobody may move what is another's."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs two users (root, and setpriv)")
    place = Path(tempfile.mkdtemp())
    place.chmod(0o1777)
    yield place
    shutil.rmtree(place)


def test_stale_lock_of_another_user_is_taken_over(temporary: Path) -> None:
    path = temporary / "board" / "lock"
    gone, other = Lock(LocalShell(), str(path)), Lock(AnotherUser(), str(path), wait_seconds=0)
    with gone.held():
        with pytest.raises(UnavailableError, match="in use by"), other.held():
            pass
        os.utime(path / "beat", (1000, 1000))
        with other.held():
            assert path.owner() == "nobody"
            assert list(path.parent.iterdir()) == [path]
    assert not path.exists()


def test_lock_without_a_beat_yet_is_not_stale(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(UnavailableError), Lock(LocalShell(), str(tmp_path / "lock"), wait_seconds=0).held():
        pass


def test_place_of_the_lock_that_cannot_be_written_is_told_at_once(temporary: Path) -> None:
    temporary.chmod(0o755)
    with pytest.raises(OutputError, match="cannot be written"), Lock(AnotherUser(), f"{temporary}/l").held():
        pass
    assert not list(temporary.iterdir())


def test_lock_that_has_no_space_is_told_at_once_and_removed(temporary: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(temporary)]
    if subprocess.run(mount, capture_output=True, timeout=60, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        with contextlib.suppress(OSError):
            (temporary / "full").write_bytes(bytes(1 << 16))
        with pytest.raises(OutputError, match="no space for"), Lock(LocalShell(), f"{temporary}/l").held():
            pass
        assert [each.name for each in temporary.iterdir()] == ["full"]
    finally:
        subprocess.run(["umount", "-l", str(temporary)], check=True, timeout=60)


def test_no_process_of_an_ended_job_is_left(tmp_path: Path) -> None:
    """Also where it ends before what watches it has begun to sleep."""
    seconds = 1_000_000 + os.getpid()  # no other test's, wherever it runs
    for number in range(10):
        run_job(LocalShell(), str(tmp_path), f"job{number}", ["true"], seconds)
    sleep = f"sleep\x00{seconds}\x00".encode()
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = [each for each in Path("/proc").glob("[0-9]*/cmdline") if sleep in _read(each)]
        if not found:
            return
        time.sleep(0.1)
    pytest.fail(f"still there: {found}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def test_job_runs_where_there_is_no_nohup(tmp_path: Path) -> None:
    """And one that hangs up does not end it."""
    for name in ("sh", "sleep", "cat", "rm", "mkdir", "mv", "env", "tail"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)

    class Bare(LocalShell):
        def run(self, command: str, stdin: bytes | IO[bytes] = b"", seconds: float = 60.0) -> Done:
            return super().run(f"PATH={tmp_path}; {command}", stdin, seconds)

    script = ["sh", "-c", "kill -s HUP $PPID; echo done"]
    ended = run_job(Bare(), str(tmp_path), "job", script, 30)
    assert (ended.code, ended.output) == (0, "done\n")


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
