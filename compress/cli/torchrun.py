"""A command that ``torchrun`` started several times: the first process alone tells what was done or what is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from compress.cli.stdout import kept_for_the_result

_FIRST_TELLS_SECONDS = 20.0


@contextmanager
def left_to_the_first() -> Iterator[None]:
    """An error is the first process's to tell, on which the launcher ends this one; if it does not, it is told here."""
    try:
        with kept_for_the_result():
            yield
    except Exception:
        time.sleep(_FIRST_TELLS_SECONDS)
        raise
