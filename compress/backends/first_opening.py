"""A build is opened for the first time in another process: a runtime that crashes there takes nothing with it.

One process opens one build after another, so that the runtime is loaded once; after a crash another one takes over.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO

from compress.backends.base import Artifact
from compress.errors import NetworkError

_CHILD = "import sys; sys.path.append(sys.argv[1]); from compress.backends.first_opening import main; main()"

_lock = threading.Lock()
_opener: _Opener | None = None


def open_elsewhere(artifact: Artifact) -> None:
    """Open a build in another process, and close it again.

    Args:
        artifact: The build; its back end is on this machine.

    Raises:
        CompressError: What the back end says about it.
        NetworkError: The runtime crashed.
    """
    with _lock:
        answer = _running().open(artifact)
    if answer is not None:
        kind, wanted, found, todo = answer
        import compress.errors

        raise getattr(compress.errors, kind)(wanted, found, todo)


class _Opener:
    """The other process."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            # -P: nothing is imported from the working directory.
            [sys.executable, "-P", "-c", _CHILD, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is this process's, which ends the other
        )

    def open(self, artifact: Artifact) -> list[str] | None:
        """What was wrong, as the error's class and its three parts; None where nothing was."""
        requests, answers = self.process.stdin, self.process.stdout
        if requests is None or answers is None:
            raise RuntimeError("a process without pipes")
        request = {**asdict(artifact), "path": str(artifact.path.absolute())}
        with contextlib.suppress(BrokenPipeError):
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
        line = answers.readline()
        if line:
            answer: list[str] | None = json.loads(line)
            return answer
        code = self.process.wait()
        self.close()
        how = f"it crashed with {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"
        return [
            NetworkError.__name__,
            f"a build that opens in {artifact.backend}",
            f"{artifact.path.name}, at which {how}",
            "try another precision or another back end",
        ]

    def close(self) -> None:
        """End it; may be called twice."""
        if self.owner != os.getpid():
            return  # a fork's parent still needs it
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def _running() -> _Opener:
    global _opener
    if _opener is None or _opener.owner != os.getpid() or _opener.process.poll() is not None:
        _opener = _Opener()
        atexit.register(_opener.close)
    return _opener


def main() -> None:
    """Open what each line of standard input names, and answer with a line of JSON, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes print what they like
    for line in sys.stdin:
        _answer(json.loads(line), answers)


def _answer(request: dict[str, object], answers: IO[str]) -> None:
    from compress.backends import load_backend
    from compress.errors import CompressError

    artifact = Artifact(**{**request, "path": Path(str(request["path"]))})  # type: ignore[arg-type]
    told = None
    try:
        load_backend(artifact.backend).open(artifact).close()
    except CompressError as error:
        told = [type(error).__name__, error.wanted, error.found, error.todo]
    answers.write(json.dumps(told) + "\n")
    answers.flush()
