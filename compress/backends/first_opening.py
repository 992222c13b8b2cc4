"""A build is opened and run for the first time in another process: a runtime that crashes takes nothing with it.

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
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from compress.backends.base import Artifact
from compress.errors import NetworkError

_CHILD = "import sys; sys.path.append(sys.argv[1]); from compress.backends.first_opening import main; main()"

#: One batch, by input name.
Feeds = Mapping[str, "np.ndarray[Any, Any]"]

_lock = threading.Lock()
_opener: _Opener | None = None


def open_elsewhere(artifact: Artifact, feeds: Feeds | None = None) -> None:
    """Open a build in another process, run it once, and close it again.

    Args:
        artifact: The build; its back end is on this machine.
        feeds: A batch that it is run on; None opens it alone.

    Raises:
        CompressError: What the back end says about it.
        NetworkError: The runtime crashed.
    """
    with _lock, _stored(feeds) as path:
        answer = _running().open(artifact, path)
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

    def open(self, artifact: Artifact, feeds: Path | None) -> list[str] | None:
        """What was wrong, as the error's class and its three parts; None where nothing was."""
        requests, answers = self.process.stdin, self.process.stdout
        if requests is None or answers is None:
            raise RuntimeError("a process without pipes")
        build = {**asdict(artifact), "path": str(artifact.path.absolute())}
        request = {"build": build, "feeds": None if feeds is None else str(feeds)}
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
            f"a build that {'opens' if feeds is None else 'runs'} in {artifact.backend}",
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


@contextlib.contextmanager
def _stored(feeds: Feeds | None) -> Iterator[Path | None]:
    """A batch in a file; none where there is no batch, and of text, which such files do not hold."""
    if feeds is None or any(array.dtype.hasobject for array in feeds.values()):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="compress-") as directory:
        path = Path(directory) / "batch.npz"
        # Not under the bare names: an input may be called as an argument of savez is.
        np.savez(path, **{f"={name}": array for name, array in feeds.items()})  # type: ignore[arg-type]
        yield path


def _running() -> _Opener:
    global _opener
    if _opener is None or _opener.owner != os.getpid() or _opener.process.poll() is not None:
        _opener = _Opener()
        atexit.register(_opener.close)
    return _opener


def main() -> None:
    """Open and run what each line of standard input names, and answer each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes print what they like
    for line in sys.stdin:
        _answer(json.loads(line), answers)


def _answer(request: dict[str, Any], answers: IO[str]) -> None:
    from compress.backends import load_backend
    from compress.errors import CompressError

    artifact = Artifact(**{**request["build"], "path": Path(request["build"]["path"])})
    told = None
    try:
        with load_backend(artifact.backend).open(artifact) as session:
            if request["feeds"] is not None:
                with np.load(request["feeds"], allow_pickle=False) as arrays:
                    session.run({name[1:]: array for name, array in arrays.items()})
    except CompressError as error:
        told = [type(error).__name__, error.wanted, error.found, error.todo]
    answers.write(json.dumps(told) + "\n")
    answers.flush()
