"""Calls into code of the user: data, metrics, factories, families."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class EndedProcessError(RuntimeError):
    """Code of the user raised an exception that ends a process, such as ``SystemExit``."""


@contextmanager
def users_code() -> Iterator[None]:
    """Keep the user's code inside the block from ending the process, as ``sys.exit(0)`` in a metric would.

    Such an exception becomes an :class:`EndedProcessError`, which the caller reports like any error of that code.
    A keyboard interrupt stays one.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise EndedProcessError(f"{type(error).__name__}({error})") from error
