"""The process that runs one command: its standard output and its exit code.

Code of the user runs in it, and native runtimes do: either may print at any time, also while Python ends, and may end
the process. So standard output is the result's alone, through a descriptor of its own, and a command that runs code of
the user is waited for by another process, which believes no exit status, only an answer.
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compress.errors import OutputError

_STDOUT = 1

#: Passed on to the process that does the work.
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Option of prctl(2): the signal that comes when the parent dies.
_PR_SET_PDEATHSIG = 1

_alone = False
_own: int | None = None
_answer_to: int | None = None


class _Result(io.TextIOWrapper):
    """Standard output, whose failed writes end as an error of the command."""

    def write(self, text: str, /) -> int:
        with _told():
            return super().write(text)

    def flush(self) -> None:
        with _told():
            super().flush()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        todo = "make room, or send it elsewhere"
        raise OutputError("a result on standard output", error.strerror or str(error), todo) from error


def keep_standard_output() -> None:
    """Keep standard output for Python's ``sys.stdout`` alone; descriptor 1 leads to standard error from now on.

    The descriptor that leads to standard output is not inherited by other programs.

    Raises:
        OutputError: Standard output is closed, or has no room: before any work is done.
    """
    global _alone, _own
    _alone = True
    if sys.stderr is None:  # what is told is told to nobody, and no file of ours gets the descriptor
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    standard = sys.stdout
    if standard is None:
        todo = "send it to a file, or to /dev/null"
        raise OutputError("standard output for the result", "that it is closed", todo)
    if standard.fileno() != _STDOUT:
        return
    with _told():
        _check_room()
    standard.flush()
    duplicate = _own = os.dup(_STDOUT)
    elsewhere = os.dup(sys.stderr.fileno())
    os.dup2(elsewhere, _STDOUT)
    os.close(elsewhere)
    sys.stdout = _Result(
        os.fdopen(os.dup(duplicate), "wb"),
        encoding=standard.encoding,
        errors=standard.errors,
        line_buffering=os.isatty(duplicate),
    )


def _check_room() -> None:
    """Look whether standard output takes anything, without writing any.

    Raises:
        OSError: It does not.
    """
    os.write(_STDOUT, b"")  # what /dev/full refuses
    if stat.S_ISREG(os.fstat(_STDOUT).st_mode) and os.fstatvfs(_STDOUT).f_bavail == 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def close_standard_output() -> None:
    """Write the rest of the result; nothing printed afterwards reaches standard output.

    Raises:
        OutputError: Standard output cannot be written.
    """
    if _own is None:
        return
    result, sys.stdout = sys.stdout, sys.stderr
    with suppress(BrokenPipeError):
        result.flush()


def is_unread() -> bool:
    """Whether the reader of standard output has gone, as ``head`` does."""
    if _own is None:
        return False
    poll = select.poll()
    poll.register(_own, select.POLLOUT)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def waited_for() -> int | None:
    """Continue in a child process whose answer, not its exit status, decides the exit code.

    Returns:
        None in the process that goes on, which gives its exit code to :func:`answer`; in the one that waited, that
        code. Without an answer, an error is told and the code is 2. Where this is no process of its own, or the system
        has no fork, None at once.
    """
    global _answer_to
    if not _alone or not hasattr(os, "fork"):
        return None
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    reading, writing = os.pipe()
    waiting = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, nothing can be waited for
    heard = {number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*heard, signal.SIGCHLD})
    worker = os.fork()
    if worker == 0:
        _end_with(waiting)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(reading)
        _answer_to = writing
        return None
    os.close(writing)
    status = _wait(worker, {*heard, signal.SIGCHLD})
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.set_blocking(reading, False)  # processes that it left behind may hold the other end
    try:
        answered = os.read(reading, 1)
    except BlockingIOError:
        answered = b""
    os.close(reading)
    return answered[0] if answered else _unanswered(status)


def _wait(worker: int, heard: set[signal.Signals]) -> int:
    """Pass signals on until the worker has ended, and return how it ended.

    A terminal's own, as Ctrl-C sends them, reach the worker without that, and would come twice.
    """
    while True:
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            return status
        if hasattr(signal, "sigwaitinfo"):
            received = signal.sigwaitinfo(heard)
            number, by_a_process = received.si_signo, received.si_code <= 0
        else:
            number, by_a_process = int(signal.sigwait(heard)), True
        if number != signal.SIGCHLD and by_a_process:
            os.kill(worker, number)


def _end_with(waiting: int) -> None:
    """Let the system end this process if its waiting parent is killed, since nobody would read its result."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != waiting:
        os._exit(1)


def answer(code: int) -> None:
    """Tell the waiting process, if there is one, the exit code of the command."""
    global _answer_to
    if _answer_to is not None:
        os.write(_answer_to, bytes([code]))
        os.close(_answer_to)
        _answer_to = None


def _unanswered(status: int) -> int:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in _PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        ending = f"that it was ended by {signal.Signals(number).name}"
    else:
        ending = f"that the process ended before, with {os.waitstatus_to_exitcode(status)}"
    sys.stderr.write(
        f"error: wanted a result; found {ending}; look for what ends the process (os._exit, a crash) in the code that "
        "was given\n"
    )
    return 2
