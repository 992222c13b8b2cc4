"""The first opening and run of a build in another process, so that a crash of its runtime does no harm.

One process opens one build after another, so that the runtime is loaded once; after a crash another one takes over. A
network may loop for ever, or ask for more memory than there is: opening and the one run have limits of both.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compress.backends.base import Artifact
from compress.core.child_process import (
    HEAVY_RUN,
    EndedError,
    Limits,
    OtherProcess,
    kept,
    lacks_memory,
    limits_of_a_run,
    read_stored,
    serve,
    stored,
)
from compress.errors import NetworkError

_CHILD = "import sys; sys.path.append(sys.argv[1]); from compress.backends.first_opening import main; main()"

#: One batch, by input name.
Feeds = Mapping[str, "np.ndarray[Any, Any]"]

_lock = threading.Lock()


def open_elsewhere(artifact: Artifact, feeds: Feeds | None = None) -> None:
    """Open a build in another process, run it once, and close it again.

    Args:
        artifact: The build; its back end is on this machine.
        feeds: Batch to run it on; None only opens it.

    Raises:
        CompressError: The back end refuses the build; its error is passed on.
        NetworkError: The runtime crashed, or took more than the limits.
    """
    build = {**asdict(artifact), "path": str(artifact.path.absolute())}
    limits = limits_of_a_run(artifact.size_bytes, sum(array.nbytes for array in (feeds or {}).values()))
    with _lock, stored(feeds) as path:
        request = {"build": build, "feeds": None if path is None else str(path)}
        try:
            answer = _running().ask(request, limits)
        except EndedError as error:
            if "took more" in str(error):
                raise _too_much(artifact, str(error), limits) from error
            raise NetworkError(
                f"a build that {'opens' if path is None else 'runs'} in {artifact.backend}",
                f"{artifact.path.name}, at which {error}",
                "try another precision or another back end",
            ) from error
    if answer == [MemoryError.__name__]:
        raise _too_much(artifact, "it took more memory", limits)
    if answer is not None:
        kind, wanted, actual, todo = answer
        import compress.errors

        raise getattr(compress.errors, kind)(wanted, actual, todo)


def _too_much(artifact: Artifact, how: str, limits: Limits) -> NetworkError:
    return NetworkError(
        f"a network that opens and runs once within {limits}",
        f"{artifact.path.name}, at which {how}",
        HEAVY_RUN,
    )


def _running() -> OtherProcess:
    return kept(_CHILD)


def main() -> None:
    """Open and run the build that each line of standard input names, and answer each with a line of JSON."""
    serve(_answer)


def _answer(request: dict[str, Any]) -> list[str] | None:
    """Return the error as its class and its three parts; None without an error."""
    from compress.backends import load_backend
    from compress.errors import CompressError

    artifact = Artifact(**{**request["build"], "path": Path(request["build"]["path"])})
    try:
        with load_backend(artifact.backend).open(artifact) as session:
            feeds = read_stored(request["feeds"])
            if feeds is not None:
                session.run(feeds)
    except MemoryError:
        return [MemoryError.__name__]
    except CompressError as error:
        if lacks_memory(error):
            return [MemoryError.__name__]
        return [type(error).__name__, error.wanted, error.found, error.todo]
    return None
