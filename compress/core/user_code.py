"""Calls into code of the user: data, metrics, factories, families."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class EndedProcessError(RuntimeError):
    """Code of the user raised what ends a process, such as ``SystemExit``; its message says what."""


@contextmanager
def users_code() -> Iterator[None]:
    """Inside the block nothing that is called ends the process: ``sys.exit(0)`` of a metric is no success.

    What is raised so becomes an :class:`EndedProcessError`, which the caller tells as it tells any error of that code.
    A keyboard interrupt stays one.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise EndedProcessError(f"{type(error).__name__}({error})") from error
