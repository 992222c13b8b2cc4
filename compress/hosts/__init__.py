"""Where artifacts run: this machine, or nowhere (then figures are estimates)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.backends import load_backend
from compress.hosts.absent import AbsentHost
from compress.hosts.local import LocalHost
from compress.profiling.latency import Budget

if TYPE_CHECKING:
    from compress.hosts.base import Host
    from compress.target import Target


def connect(target: Target, seconds: float = 2.0) -> Host:
    """The host for a target: this machine if the target is it, else none.

    Args:
        target: What builds are for.
        seconds: Of timing per build and batch size, where there is something to time.

    Raises:
        UnavailableError: The target is this machine, and its back end is not installed.
    """
    if target.here:
        return LocalHost(load_backend(target.backend), Budget(seconds=seconds))
    return AbsentHost(load_backend("onnxruntime"))
