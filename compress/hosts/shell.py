"""A POSIX shell on the machine where an engine is built and run: this one, or one behind ssh.

Nothing else is counted on there. A command may be sent a second time after a lost connection, so each one must mean
the same when it runs twice.
"""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from dataclasses import dataclass
from typing import IO, Any

from compress.core.closeable import Closeable
from compress.errors import UnavailableError

#: For commands that only look or move; builds and measurements are jobs (:mod:`compress.hosts.jobs`).
SECONDS = 60.0


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        code: Exit status.
        output: Standard output, as bytes.
        errors: Standard error, as text.
    """

    code: int
    output: bytes
    errors: str

    @property
    def text(self) -> str:
        """The output as text."""
        return self.output.decode(errors="replace")


class Shell(Closeable):
    """Runs commands; a context manager that closes its connection.

    Attributes:
        name: Name to show: ``user@board``, or ``local``.
    """

    name: str

    @abstractmethod
    def run(self, command: str, stdin: bytes | IO[bytes] = b"", seconds: float = SECONDS) -> Done:
        """Run a command line of POSIX sh; every name in it is quoted by the caller.

        Args:
            command: Command line; running it twice must have the same effect as once.
            stdin: Standard input; a file is sent once, from its present position.
            seconds: Time limit, in seconds.

        Raises:
            ConnectionLostError: The machine does not answer (any more).
        """

    def close(self) -> None:
        """End the connection; may be called twice."""
        return


class LocalShell(Shell):
    """The shell of this machine, for one that has TensorRT itself."""

    name = "local"

    def run(self, command: str, stdin: bytes | IO[bytes] = b"", seconds: float = SECONDS) -> Done:
        """See :meth:`Shell.run`."""
        try:
            code, output, errors = execute(["sh", "-c", command], stdin, seconds)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                "an answer from this machine's shell",
                f"none within {seconds:g} s",
                "see whether its disk answers, and try again",
            ) from error
        return Done(code, output, errors)


def execute(arguments: list[str], stdin: bytes | IO[bytes], seconds: float) -> tuple[int, bytes, str]:
    """Run a program of this machine; return its exit status, output and errors.

    Raises:
        UnavailableError: The program is not installed.
        subprocess.TimeoutExpired: The program ran for longer than ``seconds``.
    """
    standard_input: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            arguments, capture_output=True, timeout=seconds, check=False, **standard_input
        )
    except FileNotFoundError as error:
        raise UnavailableError(
            f"the program {arguments[0]}", "it is not installed here", "install it (OpenSSH's client for ssh)"
        ) from error
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")
