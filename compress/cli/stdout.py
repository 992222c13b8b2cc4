"""Standard output is for the result: what the user's code and the libraries print while it is made goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_STDOUT = 1


@contextmanager
def kept_for_the_result() -> Iterator[None]:
    """Inside the block what is printed to standard output goes to standard error.

    By Python code, and by what runs below it: other languages write to the descriptor, and so do child processes.
    """
    sys.stdout.flush()
    below = _has_descriptor(sys.stdout) and _has_descriptor(sys.stderr)
    own = os.dup(_STDOUT) if below else None
    if below:
        os.dup2(sys.stderr.fileno(), _STDOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        if own is not None:
            os.dup2(own, _STDOUT)
            os.close(own)


def _has_descriptor(stream: object) -> bool:
    """Whether what is written goes to a descriptor of this process, not into a buffer of whoever calls it."""
    try:
        return isinstance(stream.fileno(), int)  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return False
