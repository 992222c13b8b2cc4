"""A machine behind ssh, through the system's own OpenSSH client: the user's configuration, keys, agent and jump hosts.

One connection is opened and shared by every command (``ControlMaster``, ssh_config(5)); it is opened again when it
drops. Host keys are checked as the user has configured it, and nothing is ever asked (``BatchMode``).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import IO

from compress.core.plain_text import one_line
from compress.errors import ConnectionLostError, UnavailableError, UsageError
from compress.hosts.marked import Marks
from compress.hosts.shell import SECONDS, Done, Shell, execute

#: ssh's own exit status for a connection that failed; no command of ours ends with it.
_NO_CONNECTION = 255
#: Seconds to wait before each new attempt: a board that restarts its network is back within a minute.
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 20.0)
_OPTIONS = (
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "RemoteCommand=none"),  # One in the user's configuration would run in place of ours.
)
#: Seconds until a shell answers for the first time: what starts with it may wait for a person.
_FIRST_ANSWER = 20.0


class SshShell(Shell):
    """The shell of another machine.

    Args:
        address: Address that ``ssh`` takes: ``user@board``, a name of ``~/.ssh/config``, ``ssh://user@board:2222``.
        pauses: Pause before each attempt to connect again, in seconds; None for :data:`PAUSES`.

    Raises:
        UsageError: The text is no address.
        UnavailableError: There is no connection; ssh's own reason is in the message.

    The environment variable ``COMPRESS_SSH`` replaces the command ``ssh``, as ``GIT_SSH_COMMAND`` does for Git.
    """

    def __init__(self, address: str, pauses: tuple[float, ...] | None = None) -> None:
        if not address or address.startswith("-") or any(mark.isspace() for mark in address):
            raise UsageError("an address that ssh takes (user@board)", repr(address), "correct --host")
        self.name = address
        self._ssh = shlex.split(os.environ.get("COMPRESS_SSH", "ssh"))
        self._pauses = PAUSES if pauses is None else pauses
        self._directory = _short_directory()
        weakref.finalize(self, shutil.rmtree, self._directory, True)
        self._control = self._directory / "control"
        self._master: subprocess.Popen[bytes] | None = None
        self._marks = Marks()
        try:
            self._connect()
            self._ask()
        except BaseException:
            self.close()
            raise

    def run(self, command: str, stdin: bytes | IO[bytes] = b"", seconds: float = SECONDS) -> Done:
        """See :meth:`Shell.run`; a dropped connection is opened again, and the command sent once more.

        A file on standard input is sent only once: how much of it arrived must be asked first
        (:mod:`compress.hosts.transfer`).
        """
        attempts = len(self._pauses) if isinstance(stdin, bytes) else 0
        for attempt in range(attempts + 1):
            try:
                code, everything, errors = execute(self._command(command), stdin, seconds)
            except subprocess.TimeoutExpired:
                code, everything, errors = _NO_CONNECTION, b"", f"no answer within {seconds:g} s"
            if code != _NO_CONNECTION:
                output, said = self._marks.answer(everything), self._marks.answer(errors.encode())
                if output is None:
                    raise self._silent(everything.decode(errors="replace"), errors)
                return Done(code, output, (said or b"").decode())
            self._reconnect(self._pauses[attempt:])
        raise self._lost(errors)

    def close(self) -> None:
        """See :meth:`Shell.close`."""
        self._disconnect()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _command(self, command: str) -> list[str]:
        shared = ["-T", "-S", str(self._control), "-o", "ControlMaster=no"]
        return [*self._ssh, *_OPTIONS, *shared, self.name, self._marks.command(command)]

    def _ask(self) -> None:
        """Check that commands run there."""
        try:
            code, output, errors = execute(self._command("true"), b"", _FIRST_ANSWER)
        except subprocess.TimeoutExpired:
            raise self._silent(f"no answer within {_FIRST_ANSWER:g} s", "") from None
        if code != _NO_CONNECTION and self._marks.answer(output) is None:
            raise self._silent(output.decode(errors="replace"), errors)

    def _silent(self, output: str, errors: str) -> UnavailableError:
        """Return the error for an account whose shell did not run what it was given."""
        lines = (*output.splitlines(), *errors.replace(self._marks.word, "").splitlines())
        said = [line for line in lines if line.strip()]
        return UnavailableError(
            f"a login on {self.name} that runs commands in a POSIX shell",
            one_line(said[-1])[:200] if said else "it ended without an answer",
            f"see what its shell, its startup files or a forced command do: ssh {shlex.quote(self.name)} sh -c true",
        )

    def _reconnect(self, pauses: tuple[float, ...]) -> None:
        reason: UnavailableError | None = None
        for pause in pauses:
            time.sleep(pause)
            self._disconnect()
            try:
                self._connect()
            except UnavailableError as error:
                reason = error
            else:
                return
        raise self._lost(reason.found if reason else "the connection dropped") from reason

    def _connect(self) -> None:
        error_file = self._directory / "errors"
        shared = ["-N", "-T", "-M", "-S", str(self._control), "-o", "ControlPersist=no"]
        command = [*self._ssh, *_OPTIONS, *shared, self.name]
        try:
            with error_file.open("wb") as errors:
                self._master = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
                )
        except OSError as error:
            raise UnavailableError(
                "OpenSSH's client", f"{command[0]}: {error.strerror}", "install openssh-client"
            ) from error
        weakref.finalize(self, self._master.terminate)  # Whoever forgets to close it leaves no ssh behind.
        while not self._control.exists():
            if self._master.poll() is not None:
                said = error_file.read_text(errors="replace").strip().splitlines()
                raise UnavailableError(
                    f"a connection to {self.name} that needs no password",
                    said[-1] if said else "ssh ended without a word",
                    f"make this work first: ssh {shlex.quote(self.name)} true",
                )
            time.sleep(0.02)

    def _disconnect(self) -> None:
        if self._master is not None:
            self._master.terminate()
            self._master.wait()
            self._master = None
        self._control.unlink(missing_ok=True)

    def _lost(self, reason: str) -> ConnectionLostError:
        last = reason.strip().splitlines()[-1:] or ["no answer"]
        return ConnectionLostError(
            f"an answer from {self.name}",
            last[0],
            "give the same command again when it is back: what was measured is kept",
        )


def _short_directory() -> Path:
    """Return a new directory with a short path: a socket's path may have a hundred characters.

    Raises:
        UnavailableError: None may be made.
    """
    candidates = (
        "/tmp",
        os.environ.get("XDG_RUNTIME_DIR", ""),
        "/var/tmp",
        "/dev/shm",
        tempfile.gettempdir(),
    )
    reason = ""
    for candidate in filter(None, candidates):
        try:
            return Path(tempfile.mkdtemp(prefix="compress-", dir=candidate))
        except OSError as error:
            reason = reason or f"{candidate}: {error.strerror}"
    raise UnavailableError(
        "a temporary directory of this machine for ssh's socket",
        reason,
        "free space there, or let it be written",
    )
