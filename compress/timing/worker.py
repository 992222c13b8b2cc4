"""The process that runs one build while it is timed.

It is forked by :mod:`compress.timing.server` for one build, opens it as a user's own process would, and makes the
calls that the comparing process asks for. Between two bursts of calls the comparing process stops it with a signal, so
that threads which spin while they wait for the next call take no time from the other builds, and spin on afterwards as
if nothing had been between.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError

if TYPE_CHECKING:
    from compress.backends.base import Artifact, Session

_STATUS = Path("/proc/self/status")
_PR_SET_PDEATHSIG = 1

#: Calls before peak memory is read: the runtime's plan of its memory settles in the first.
_MEMORY_CALLS = 2


def serve(connection: Connection) -> None:
    """Open the build that the first request names, answer requests until there are no more, and end.

    Every message is a JSON object. The first request holds ``artifact`` (as :class:`Artifact` has it) and ``feeds``
    (batch size → path of an ``.npz`` with an array for each input); the answer ``peak_mb``. Every further one asks for
    calls (:func:`_calls`); the answer holds ``ns``, the duration of each call in nanoseconds. An answer with ``error``
    has what was wanted, what was found and what to do. Where the first request has ``decoding``, the one answer is what
    :func:`compress.timing.decoding_worker.answer_to` returns.
    """
    gc.disable()
    try:
        first = json.loads(connection.recv_bytes())
        if "decoding" in first:
            from compress.timing.decoding_worker import answer_to

            _answer(connection, answer_to(first, _peak_mb))
            return
        session, feeds, peak = _opened(first)
    except CompressError as error:
        _answer(connection, _told(error))
        return
    _answer(connection, {"peak_mb": peak})
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            _answer(connection, {"ns": _calls(session, feeds[request["batch"]], request)})
        except CompressError as error:
            _answer(connection, _told(error))


def end_with_parent() -> None:
    """Ask the system to kill this process when its parent ends; one that is stopped would stay for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _opened(request: dict[str, Any]) -> tuple[Session, dict[int, dict[str, Any]], float | None]:
    """Open the session; return it with the feeds by batch size, and the peak memory of calls, in MiB above idle."""
    import numpy as np

    from compress.backends import load_backend
    from compress.backends.base import Artifact

    artifact = Artifact(**{**request["artifact"], "path": Path(request["artifact"]["path"])})
    backend = load_backend(artifact.backend)
    importlib.import_module(backend.runtime)
    feeds: dict[int, dict[str, Any]] = {}
    for batch, path in request["feeds"].items():
        with np.load(path, allow_pickle=False) as arrays:
            feeds[int(batch)] = {name[1:]: array for name, array in arrays.items()}
    peak_mb = _peak_of_gpu if _runs_on_gpu(artifact) else _peak_mb
    idle = peak_mb()
    session = backend.open(artifact)
    first = next(iter(feeds.values()))
    session.prepared(first)
    for _ in range(_MEMORY_CALLS):
        session.timed_call(first)
    peak = peak_mb()
    return session, feeds, None if idle is None or peak is None else peak - idle


def _calls(session: Session, feeds: dict[str, Any], request: dict[str, Any]) -> list[int]:
    """Make calls back to back, or paced where the request has ``period_s``, the seconds from call to call.

    The request bounds them: back to back for ``seconds``, but ``least`` calls at the least and ``most`` at the most;
    paced, ``least`` calls. The path is the one of :meth:`compress.bundle.bundle.Bundle.run`,
    and of an encoder–decoder that of a whole answer.
    """

    def call() -> None:
        session.timed_call(feeds)

    if request.get("period_s"):
        return _paced(call, request["period_s"], request["least"])
    return _back_to_back(call, request["seconds"], request["least"], request["most"])


def _back_to_back(call: Callable[[], None], seconds: float, least: int, most: int) -> list[int]:
    clock, wanted_ns, times = time.perf_counter_ns, round(seconds * 1e9), list[int]()
    start = clock()
    while len(times) < most:
        before = clock()
        call()
        after = clock()
        times.append(after - before)
        if after - start >= wanted_ns and len(times) >= least:
            break
    return times


def _paced(call: Callable[[], None], period_s: float, count: int) -> list[int]:
    clock, times = time.perf_counter_ns, list[int]()
    due = time.perf_counter()
    for _ in range(count):
        due += period_s
        time.sleep(max(0.0, due - time.perf_counter()))
        before = clock()
        call()
        times.append(clock() - before)
    return times


def _told(error: CompressError) -> dict[str, Any]:
    return {"error": [error.wanted, error.found, error.todo]}


def _answer(connection: Connection, message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())


def _runs_on_gpu(artifact: Artifact) -> bool:
    from compress.backends import session_options_of
    from compress.backends.providers import on_nvidia_gpu

    return artifact.backend == "torch-tensorrt" or on_nvidia_gpu(session_options_of(artifact).provider)


def _peak_of_gpu() -> float | None:
    """Return the memory in use on the GPU, in MiB: the runtimes keep what they once had, so this is the peak."""
    from compress.profiling.nvml import used_memory_mb

    return used_memory_mb()


def _peak_mb() -> float | None:
    """Return the peak resident memory of this process in MiB; None where it is unknown."""
    if _STATUS.exists():
        # Not ru_maxrss: on Linux that one starts at the parent's peak.
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return None


def silence() -> None:
    """Discard the output of runtimes; this process answers over its connection alone."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
