"""The process that forks workers: Python and NumPy are loaded once, and a worker starts in milliseconds.

Run by :mod:`compress.timing.processes`. It loads no runtime and starts no thread, so that each worker loads and
opens everything itself, as a user's process does; all that workers share is Python's own code.
"""

from __future__ import annotations

import contextlib
import os
import socket
from multiprocessing.connection import Connection

from compress.timing import worker

#: Messages: fork a worker for the descriptor that comes with it; tell how a worker ended, by its process number.
FORK, ENDED = b"f", b"e"


def serve(channel: socket.socket) -> None:
    """Fork a worker for each request, until the other side closes the channel.

    Args:
        channel: Unix socket of the requests. ``FORK`` comes with a descriptor, the worker's end of its own connection,
            and is answered with the worker's process number. ``ENDED`` comes with a process number, and is answered
            with the exit code, negative for a signal, once that worker has ended.
    """
    worker.end_with_parent()
    _preload()
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 64, 1)
        if not message:
            return
        if message[:1] == ENDED:
            number = int(message[1:])
            code = 0
            with contextlib.suppress(ChildProcessError):
                code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
            channel.sendall(b"%d\n" % code)
            continue
        number = os.fork()
        if number == 0:
            channel.close()
            _work(descriptors[0])
        os.close(descriptors[0])
        channel.sendall(b"%d\n" % number)


def _work(descriptor: int) -> None:
    """Run the worker from fork to exit; never returns."""
    code = 1
    try:
        worker.end_with_parent()
        worker.silence()
        with Connection(descriptor) as connection:
            worker.serve(connection)
        code = 0
    finally:
        os._exit(code)  # nothing of the server's is to be run twice


def _preload() -> None:
    """Import the Python modules that every worker needs, and that start no threads."""
    import numpy as np  # noqa: F401

    import compress.backends
    import compress.backends.base  # noqa: F401


def main() -> None:
    """Serve on the descriptor that the first argument names."""
    import sys

    serve(socket.socket(fileno=int(sys.argv[1])))
