"""Threads bound to processors while two builds are compared.

Two sessions on the same two cores are not treated alike by the scheduler: the worker thread of one may share its core
with another busy program for as long as the session lives, while the other's does not. On a two-core machine with one
core loaded, the median ratio of two sessions of the same file was anything between 0.75 and 1.35 from pair of sessions
to pair of sessions, and between 0.99 and 1.01 with both sessions' threads bound to the same processors in the same
order: then whatever else runs there slows both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def processors() -> list[int]:
    """Logical processors that this process may use, one of each core first; empty where the system does not tell."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    if affinity is None:
        return []
    seen: dict[str, int] = {}
    order = []
    for number in sorted(affinity(0)):
        core = _siblings(number)
        order.append((seen.setdefault(core, 0), number))
        seen[core] += 1
    return [number for _, number in sorted(order)]


def bindable(options: Mapping[str, Any]) -> bool:
    """Whether a session has worker threads, and there is a processor for each of them and for the caller's.

    A session without any runs on the thread that calls it, as the one it is compared with does.
    """
    threads: int = options.get("intra_op_threads", 1)
    return 1 < threads <= len(processors())


def pinned_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Session options with each worker thread bound to a processor of its own, after the caller's, if it can be."""
    if not bindable(options):
        return dict(options)
    return {**options, "affinity": processors()[1 : options["intra_op_threads"]]}


@contextmanager
def bound() -> Iterator[None]:
    """The calling thread on the first processor; what other threads it starts meanwhile inherits it."""
    available = processors()
    if not available:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, available[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _siblings(number: int) -> str:
    try:
        return Path(_TOPOLOGY.format(number)).read_text().strip()
    except OSError:
        return str(number)
