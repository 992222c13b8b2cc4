"""A container that runs on this machine, through ``docker exec``: TensorRT comes in one, and Jetsons are used so.

The container is the user's, started with its GPU; nothing is started or removed. Podman answers as Docker does.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from typing import IO

from compress.core.plain_text import one_line
from compress.errors import ConnectionLostError, UnavailableError, UsageError
from compress.hosts.marked import Marks
from compress.hosts.shell import SECONDS, Done, Shell, execute

#: Beginning of a host that is a container.
SCHEME = "docker://"

_FIRST_ANSWER = 20.0
#: Next step by what Docker says, in lower case; the first that fits.
_STEPS = (
    ("no such container", "see which there are: docker ps -a"),
    ("is not running", "start it: docker start {name}"),
    ("is paused", "let it go on: docker unpause {name}"),
    (
        "permission denied while trying to connect",
        "let your user reach Docker (group docker), or set DOCKER_HOST",
    ),
    ("cannot connect to the docker daemon", "start Docker, or set DOCKER_HOST"),
    ("executable file not found", "take a container with a POSIX shell, such as NVIDIA's TensorRT image"),
)


class DockerShell(Shell):
    """The shell of a running container.

    Args:
        address: ``docker://NAME``, with the container's name or number.

    Raises:
        UsageError: The text is no such address.
        UnavailableError: The container does not answer; Docker's own reason is in the message.

    The environment variable ``COMPRESS_DOCKER`` replaces the command ``docker``, such as by ``podman``.
    """

    def __init__(self, address: str) -> None:
        container = address.removeprefix(SCHEME)
        # Docker's own rule for names.
        if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", container):
            raise UsageError("a container's name (docker://NAME)", repr(address), "correct --host")
        self.name = f"{SCHEME}{container}"
        self._container = container
        self._docker = shlex.split(os.environ.get("COMPRESS_DOCKER", "docker"))
        self._marks = Marks()
        try:
            done = self._executed("true", b"", _FIRST_ANSWER)
        except subprocess.TimeoutExpired as error:
            raise self._silent(f"no answer within {_FIRST_ANSWER:g} s") from error
        if isinstance(done, str):
            raise self._silent(done)

    def run(self, command: str, stdin: bytes | IO[bytes] = b"", seconds: float = SECONDS) -> Done:
        """See :meth:`Shell.run`; a container that has ended is not started again."""
        try:
            done = self._executed(command, stdin, seconds)
        except subprocess.TimeoutExpired:
            done = f"no answer within {seconds:g} s"
        if isinstance(done, str):
            raise ConnectionLostError(
                f"an answer from {self.name}",
                done,
                f"{self._step(done)}; then give the same command again: what was measured is kept",
            )
        return done

    def _executed(self, command: str, stdin: bytes | IO[bytes], seconds: float) -> Done | str:
        """Run a command; return the reason where Docker did not run it."""
        arguments = [*self._docker, "exec", "-i", self._container, "sh", "-c", self._marks.command(command)]
        code, everything, errors = execute(arguments, stdin, seconds)
        output, said = self._marks.answer(everything), self._marks.answer(errors.encode())
        if output is None:
            lines = [
                line for line in (errors or everything.decode(errors="replace")).splitlines() if line.strip()
            ]
            # What it advises may stand behind what it refuses.
            known = [line for line in lines if any(words in line.lower() for words, _ in _STEPS)]
            reasons = (*known, *reversed(lines), f"docker exec ended with {code} without a word")
            return one_line(reasons[0])[:200]
        return Done(code, output, (said or b"").decode())

    def _silent(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"a running container {self._container} with a POSIX shell", reason, self._step(reason)
        )

    def _step(self, reason: str) -> str:
        """Return what to do, by what Docker says."""
        other = "make this work first: docker exec {name} sh -c true"
        step = next((step for words, step in _STEPS if words in reason.lower()), other)
        return step.format(name=self._container)
