"""Standard output is for the result: what the user's code and the libraries print while it is made goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_STDOUT = 1


@contextmanager
def kept_for_the_result() -> Iterator[None]:
    """Send everything printed to standard output inside the block to standard error.

    This covers Python code, and native libraries and child processes, which write to the descriptor.
    """
    sys.stdout.flush()
    below = _has_descriptor(sys.stdout) and _has_descriptor(sys.stderr)
    duplicate = os.dup(_STDOUT) if below else None
    if below:
        os.dup2(sys.stderr.fileno(), _STDOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        if duplicate is not None:
            os.dup2(duplicate, _STDOUT)
            os.close(duplicate)


def _has_descriptor(stream: object) -> bool:
    """Whether output goes to a descriptor of this process, not into a buffer of the caller."""
    try:
        return isinstance(stream.fileno(), int)  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return False
