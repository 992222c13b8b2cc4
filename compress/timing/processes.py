"""Processes of builds, which are started, asked for calls, and stopped in between."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.closeable import Closeable
from compress.errors import NetworkError, UnavailableError
from compress.timing.server import ENDED, FORK

if TYPE_CHECKING:
    from compress.backends.base import Artifact

Times = np.ndarray[Any, np.dtype[np.float64]]
Feeds = Mapping[str, np.ndarray[Any, Any]]

_SERVER = "import sys; sys.path.append(sys.argv[2]); from compress.timing.server import main; main()"


class Worker(Closeable):
    """A build in a process of its own, which is stopped whenever it makes no calls.

    Args:
        artifact: The build.
        feeds: Path of an ``.npz`` file with an array for each input, by batch size.
        further: Further parts of the request, as JSON holds them: they ask for other figures than calls, which
            :meth:`answer` returns. None for calls.

    Attributes:
        artifact: The build.
        peak_memory_mb: Peak resident memory of opening it and of calls at the first batch size, in MiB above the idle
            runtime's; None on a system that does not tell. Known once :meth:`wait` has returned.
    """

    peak_memory_mb: float | None = None

    def __init__(
        self, artifact: Artifact, feeds: Mapping[int, Path], further: Mapping[str, Any] | None = None
    ) -> None:
        self.artifact = artifact
        self._server = _server()
        self._connection, self._pid = self._server.fork()
        request = {
            "artifact": {**asdict(artifact), "path": str(artifact.path.absolute())},
            "feeds": {str(batch): str(path) for batch, path in feeds.items()},
            **(further or {}),
        }
        self._connection.send_bytes(json.dumps(request).encode())

    def wait(self) -> None:
        """Wait until the build is open and was called once.

        Raises:
            NetworkError: The build cannot be opened or run, or its process crashed.
        """
        self.peak_memory_mb = self.answer()["peak_mb"]
        self._signal(signal.SIGSTOP)

    def calls(
        self, batch: int, seconds: float, least: int = 1, most: int = 1 << 30, period_s: float | None = None
    ) -> Times:
        """Make calls, back to back or paced, while every other worker is stopped.

        Args:
            batch: Batch size, one of those of the feeds.
            seconds: Duration of calls back to back, in seconds.
            least: Smallest number of calls; for paced calls, their number.
            most: Largest number of calls.
            period_s: Seconds from one call to the next, for paced calls; None for calls back to back.

        Returns:
            The duration of each call in milliseconds, ``(n,)``.

        Raises:
            NetworkError: A call failed, or the process crashed.
        """
        request = {"batch": batch, "seconds": seconds, "least": least, "most": most, "period_s": period_s}
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # the answer tells why
            self._connection.send_bytes(json.dumps(request).encode())
        answer = self.answer()
        self._signal(signal.SIGSTOP)
        return np.array(answer["ns"], dtype=np.float64) / 1e6

    def close(self) -> None:
        """End the process; may be called twice."""
        if self._pid:
            self._signal(signal.SIGKILL)
            self._server.exit_code(self._pid)
            self._pid = 0
            self._connection.close()

    def answer(self) -> dict[str, Any]:
        """Return the answer to the last request.

        Raises:
            NetworkError: The build cannot be opened or run, or its process crashed.
        """
        try:
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            code, self._pid = self._server.exit_code(self._pid), 0
            self._connection.close()
            how = f"it crashed with {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"
            raise NetworkError(
                f"a build that runs in {self.artifact.backend}",
                f"{how}: {self.artifact.path}",
                "try another precision or another back end, or report it to the runtime's authors",
            ) from None
        if "error" in answer:
            raise NetworkError(*answer["error"])
        return answer

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)


@contextlib.contextmanager
def workers(artifacts: Sequence[Artifact], feeds: Mapping[int, Path]) -> Iterator[list[Worker]]:
    """Start a process for each build, all at the same time, and end them afterwards.

    Args:
        artifacts: The builds.
        feeds: Path of an ``.npz`` file with an array for each input, by batch size; see :func:`stored_feeds`.

    Yields:
        A worker for each build, in order, ready to be called.

    Raises:
        NetworkError: A build cannot be opened or run, or its process crashed.
    """
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(Worker(artifact, feeds)) for artifact in artifacts]
        for worker in started:
            worker.wait()
        yield started


def peak_memory_mb(artifact: Artifact, feeds: Mapping[int, Path]) -> float | None:
    """Return the peak memory of a build that is started anew; see :attr:`Worker.peak_memory_mb`.

    Args:
        artifact: The build.
        feeds: Path of an ``.npz`` file with an array for each input, by batch size; the first size counts.

    Raises:
        NetworkError: The build cannot be opened or run, or its process crashed.
    """
    with workers([artifact], feeds) as (worker,):
        return worker.peak_memory_mb


@contextlib.contextmanager
def stored_feeds(feeds: Mapping[int, Feeds]) -> Iterator[dict[int, Path]]:
    """Store the feeds of each batch size in a file, where workers read them.

    Args:
        feeds: One batch for each batch size, an array for each input.
    """
    with TemporaryDirectory(prefix="compress-") as directory:
        paths = {}
        for batch, arrays in feeds.items():
            paths[batch] = Path(directory) / f"{batch}.npz"
            # Not under the bare names: an input may be called as an argument of savez is.
            named = {f"={name}": array for name, array in arrays.items()}
            np.savez(paths[batch], **named)  # type: ignore[arg-type]
        yield paths


class _Server:
    """The process that forks workers."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # NumPy starts no threads before the fork
        with theirs:
            self._process = subprocess.Popen(
                # -P: nothing is imported from the working directory.
                [sys.executable, "-P", "-c", _SERVER, str(theirs.fileno()), root],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is this process's, which ends the others
            )
        self._channel = ours
        self._lines = ours.makefile("rb")

    def fork(self) -> tuple[Connection, int]:
        """Fork a worker; return a connection to it, and its process number."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._channel, [FORK], [theirs.fileno()])
            number = self._number()
        return Connection(ours.detach()), number

    def exit_code(self, number: int) -> int:
        """Return the exit code of a worker, once it has ended; negative for a signal."""
        self._channel.sendall(ENDED + b"%d" % number)
        return self._number()

    def close(self) -> None:
        """End the server, and every worker with it."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _number(self) -> int:
        line = self._lines.readline()
        if not line:
            code = self._process.wait()
            raise UnavailableError(
                "a process to time builds in", f"it ended with {code}", "see what it printed, and try again"
            )
        return int(line)


_running: _Server | None = None
_owner: tuple[int, int] | None = None


def _server() -> _Server:
    """Return the server of this thread's process, started where there is none."""
    global _running, _owner
    here = os.getpid(), threading.get_ident()
    if _running is None or _owner != here or not _running.alive:
        # The system ends a server together with the thread that started it, and a fork shares its parent's.
        _running, _owner = _Server(), here
        atexit.register(_running.close)
    return _running
