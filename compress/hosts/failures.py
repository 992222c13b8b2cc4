"""Errors for failed runs of ``trtexec``, from the exit status and the output."""

from __future__ import annotations

import re

from compress.errors import (
    BundleError,
    CompressError,
    InternalError,
    NetworkError,
    OutputError,
    UnavailableError,
)
from compress.hosts.jobs import Ended

#: 128 + SIGKILL: nobody but the kernel short of memory, or our own time limit, sends it.
_KILLED = 137
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_MEMORY = re.compile(r"out of memory|cuda failure 2\b|insufficient memory|OutOfMemory", re.IGNORECASE)
_CORRUPT = re.compile(
    r"engine deserialization failed|magic ?tag|serialization assertion|error deserializing|failed to create engine",
    re.IGNORECASE,
)
_OPTION = re.compile(r"Unknown option: (\S+)")
_ERROR = re.compile(r"^.*\[E\]\s*(?:Error\[\d+\]:\s*)?(.+)$", re.MULTILINE)


def failure(ended: Ended, doing: str, where: str, seconds: float) -> CompressError | None:
    """Return the error for a failed run; None for one that succeeded.

    Args:
        ended: The ended run.
        doing: Purpose of the run, as in "trtexec to …".
        where: Name of the board.
        seconds: Time limit of the run, in seconds.
    """
    if ended.code == 0 and not ended.late:
        return None
    wanted, said = f"trtexec to {doing} on {where}", f"{ended.output}\n{ended.errors}"
    errors = _ERROR.findall(said)
    reason = errors[0].strip() if errors else (said.strip().splitlines() or ["nothing"])[-1]
    if ended.late:
        return UnavailableError(
            wanted,
            f"no end within {seconds:g} s",
            "see what else runs there; it was ended, and may be tried again",
        )
    if ended.full or _FULL.search(said):
        return OutputError(
            f"space on {where}", "its disk is full", "free space there, and give the same command again"
        )
    if ended.code == _KILLED or _MEMORY.search(said):
        return UnavailableError(
            wanted,
            f"too little memory: {reason}",
            "close what else runs there, the desktop first",
        )
    if unknown := _OPTION.search(said):
        return InternalError(wanted, f"a release that does not know {unknown[1]}", "report this as a defect")
    if _CORRUPT.search(said):
        return BundleError(wanted, f"an engine it cannot read: {reason}", "remove ~/.cache/compress there")
    return NetworkError(
        wanted, reason[:300], "see compress lint MODEL --target TARGET for what TensorRT refuses"
    )
