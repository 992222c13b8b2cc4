"""Another process of this Python that answers one request after another: its crash, or its hunger, is an answer too.

Whatever runs native code on what a stranger wrote, or on a build that nothing has run yet, asks one of these first.
It imports what it needs once; after a crash, or where a limit ended it, the next request starts another.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    #: One batch, by input name.
    Feeds = Mapping[str, np.ndarray[Any, Any]]

#: A request may wait so many times its processor time for a processor, and so many seconds more.
_WAITS, _AT_LEAST_S = 10, 60.0
#: Limits of a first run: seconds of each processor, and the seconds that each byte of the network and of a sample adds.
#: A slow processor does 1e10 operations in a second; convolutions over large images do 1e5 for each byte of an image.
_RUN_S, _RUN_S_OF_BYTE, _RUN_S_OF_GIVEN = 30.0, 1e-6, 2e-5
_UNKNOWN_MEMORY = 64 << 30
#: What to do where a first run takes more.
HEAVY_RUN = (
    "give smaller samples; or take out of it what does not end, as a Loop whose count follows from its input"
)

_kept: dict[str, OtherProcess] = {}
#: Seconds between two looks for the process that asks.
_LOOKS_S = 1.0
#: Longest single wait; the system counts no more seconds than its own clock can.
_LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True)
class Limits:
    """Limits of one request.

    Attributes:
        seconds: Processor time in seconds, so that a busy machine changes nothing.
        memory: Memory in bytes, beyond what the process holds when the request comes.
        threads: Number of threads, each of which may take so long.
    """

    seconds: float
    memory: int
    threads: int = 1

    def __str__(self) -> str:
        sharing = f" on each of {self.threads} processors" if self.threads > 1 else ""
        return f"{self.seconds:.0f} s{sharing} and {self.memory / 2**30:.1f} GiB"


def limits_of_a_run(size: int, given: int) -> Limits:
    """Return the limits of a network's first opening and run: far more than any that ends needs.

    Args:
        size: Bytes of its file.
        given: Bytes of what it is run on.

    Returns:
        Half a minute of every processor, more for what it holds and is given, and three quarters of the machine's
        memory.
    """
    seconds = _RUN_S + _RUN_S_OF_BYTE * size + _RUN_S_OF_GIVEN * given
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        memory = _UNKNOWN_MEMORY
    return Limits(seconds, memory * 3 // 4, os.cpu_count() or 1)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error's words say that native code had too little memory."""
    return any(words in str(error) for words in ("allocate memory", "bad allocation", "bad_alloc"))


class EndedError(Exception):
    """The other process ended without an answer; the message tells how, as ``it crashed with SIGSEGV``."""


class OtherProcess:
    """One other process.

    Args:
        code: Python code to run; it gets the root of this package as ``sys.argv[1]``, and calls :func:`serve`.
    """

    def __init__(self, code: str) -> None:
        root = str(Path(__file__).resolve().parents[2])
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            # -P: nothing is imported from the working directory.
            [sys.executable, "-P", "-c", code, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is this process's, which ends the other
        )
        atexit.register(self.close)

    @property
    def usable(self) -> bool:
        """Whether the process is a child of this one, and runs."""
        return self.owner == os.getpid() and self.process.poll() is None

    def ask(self, request: Mapping[str, Any], limits: Limits | None = None) -> Any:
        """Send a request and return the answer.

        Args:
            request: Request, made of values that JSON holds.
            limits: Limits of answering; None for no limits.

        Raises:
            EndedError: The process crashed, ended, or exceeded the limits.
        """
        requests, answers = self.process.stdin, self.process.stdout
        if requests is None or answers is None:
            raise RuntimeError("a process without pipes")
        payload = dict(request) if limits is None else {**request, "limits": asdict(limits)}
        with contextlib.suppress(BrokenPipeError):
            requests.write(json.dumps(payload).encode() + b"\n")
            requests.flush()
        if limits is not None and not _answers(answers.fileno(), _WAITS * limits.seconds + _AT_LEAST_S):
            self.close()
            raise EndedError(f"it took more than {limits.seconds:.0f} s")
        line = answers.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.close()
        if code == -signal.SIGXCPU and limits is not None:
            seconds = limits.seconds * limits.threads
            raise EndedError(f"it took more than {seconds:.0f} s of processor time")
        how = f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise EndedError(f"it {how}")

    def close(self) -> None:
        """End the process; may be called twice."""
        if self.owner != os.getpid():
            return  # a fork's parent still needs it
        atexit.unregister(self.close)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def kept(code: str) -> OtherProcess:
    """Return the process that runs this code and answers requests; a new one where it has ended.

    It answers one at a time: where several threads may ask, they take turns.
    """
    running = _kept.get(code)
    if running is None or not running.usable:
        running = _kept[code] = OtherProcess(code)
    return running


@contextlib.contextmanager
def stored(feeds: Feeds | None) -> Iterator[Path | None]:
    """Store a batch in a file for :func:`read_stored`; None without a batch, and for texts, which files cannot hold."""
    import numpy as np

    if feeds is None or any(array.dtype.hasobject for array in feeds.values()):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="compress-") as directory:
        path = Path(directory) / "batch.npz"
        # Not under the bare names: an input may be called as an argument of savez is.
        np.savez(path, **{f"={name}": array for name, array in feeds.items()})  # type: ignore[arg-type]
        yield path


def read_stored(path: str | None) -> Feeds | None:
    """Read the batch that :func:`stored` wrote; None where there was none."""
    import numpy as np

    if path is None:
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return {name[1:]: array for name, array in arrays.items()}


def serve(answer: Callable[[dict[str, Any]], Any]) -> None:
    """Answer each line of standard input with a line of JSON, in the other process.

    Args:
        answer: Function from the request to values that JSON can hold.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes print what they like
    for line in sys.stdin:
        request = json.loads(line)
        _take(request.pop("limits", None))
        reply = answer(request)
        _take(None)
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


def _end_with(parent: int) -> None:
    """End this process when the one that asks is gone, also in the middle of an answer that takes for ever.

    Args:
        parent: The process that asks.
    """
    while os.getppid() == parent:
        time.sleep(_LOOKS_S)
    os._exit(1)


def _answers(pipe: int, seconds: float) -> bool:
    """Whether data comes, or the pipe ends, within so many seconds."""
    until = time.monotonic() + seconds
    while (remaining_s := until - time.monotonic()) > 0:
        ready, _, _ = select.select([pipe], [], [], min(remaining_s, _LONGEST_WAIT_S))
        if ready:
            return True
    return False


def _take(limits: Mapping[str, float] | None) -> None:
    """Let the system end this process beyond these limits; None lifts earlier limits."""
    try:
        import resource
    except ImportError:  # not on this system: the limit of waiting is left
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    processor, memory = (
        resource.getrlimit(limit)[1] for limit in (resource.RLIMIT_CPU, resource.RLIMIT_DATA)
    )
    if limits is None:
        resource.setrlimit(resource.RLIMIT_CPU, (processor, processor))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + limits["seconds"] * limits["threads"])
    resource.setrlimit(resource.RLIMIT_CPU, (_within(until, processor), processor))
    resource.setrlimit(resource.RLIMIT_DATA, (_within(_held() + int(limits["memory"]), memory), memory))


def _within(wanted: int, hard: int) -> int:
    return wanted if hard < 0 else min(wanted, hard)  # RLIM_INFINITY is -1


def _held() -> int:
    """Return the size of this process's own data in bytes; 0 where it is unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmData:")[2].split()[0]) * 1024
    return 0
