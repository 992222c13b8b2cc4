"""Hosts that run artifacts: this machine, one behind ssh, or none (then figures are estimates)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.backends import load_backend
from compress.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from compress.hosts.base import Host
    from compress.hosts.cluster import Cluster
    from compress.hosts.shell import Shell
    from compress.target.target import Target


def connect(
    target: Target,
    seconds: float = 2.0,
    host: str | None = None,
    *,
    keep: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
    cluster: Cluster | None = None,
) -> Host:
    """Return the host for a target: the named one, else this machine if it is the target, else none.

    Args:
        target: Target of the builds.
        seconds: Time to measure each build at each batch size, in seconds, where there is something to time.
        host: A machine with TensorRT: an address that ssh takes (``user@board``), ``docker://NAME`` for a container of
            this one, or ``local`` for this one.
        keep: Whether to leave built engines on that machine.
        on_note: Receives a sentence when the host is in use and has to be waited for.
        cluster: Cluster with a worker that reaches the named machine; None reaches it from here.

    Raises:
        UnavailableError: The target is this machine, and its back end is not installed; or the named one cannot be
            reached, or has no TensorRT.
        UsageError: A host is named for a target that TensorRT does not build for.
    """
    if host is not None:
        if target.backend != "tensorrt":
            raise UsageError(
                "a target of the TensorRT back end with --host",
                f"{target.name}, which runs in {target.backend}",
                "choose the board's target (compress targets), or leave --host out",
            )
        from compress.hosts.docker import SCHEME
        from compress.hosts.tensorrt import TensorRtHost

        if cluster is None or host == "local" or host.startswith(SCHEME):
            shell = shell_of(host)
        else:
            from compress.hosts.cluster_shell import ClusterShell

            shell = ClusterShell(cluster, host)
        try:
            return TensorRtHost(shell, seconds, keep=keep, on_note=on_note)
        except BaseException:
            shell.close()
            raise
    # A board can be asked where neither onnx nor a runtime is installed; measuring needs them.
    from compress.hosts.absent import AbsentHost
    from compress.hosts.local import LocalHost
    from compress.profiling.latency import Budget

    if target.here:
        return LocalHost(load_backend(target.backend), Budget(seconds=seconds))
    return AbsentHost(load_backend("onnxruntime"))


def shell_of(host: str) -> Shell:
    """Return the shell of a machine with TensorRT.

    Args:
        host: See :func:`connect`.

    Raises:
        UnavailableError: It cannot be reached.
        UsageError: The text is no such address.
    """
    from compress.hosts.docker import SCHEME, DockerShell
    from compress.hosts.shell import LocalShell
    from compress.hosts.ssh import SshShell

    if host == "local":
        return LocalShell()
    return DockerShell(host) if host.startswith(SCHEME) else SshShell(host)
