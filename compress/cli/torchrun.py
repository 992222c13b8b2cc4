"""Commands that ``torchrun`` started several times: the first process alone prints the result or the error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from compress.cli.stdout import kept_for_the_result

_FIRST_TELLS_SECONDS = 20.0


@contextmanager
def left_to_the_first() -> Iterator[None]:
    """Leave an error to the first process, on which the launcher ends this one; print it here if that fails."""
    try:
        with kept_for_the_result():
            yield
    except Exception:
        time.sleep(_FIRST_TELLS_SECONDS)
        raise
