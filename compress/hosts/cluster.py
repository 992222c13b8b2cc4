"""Many machines through Ray: the connection to a cluster that runs, and the machines it has.

Nothing here starts a machine or a cluster: ``ray start`` does. This process runs on a machine of the cluster.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compress.core.closeable import Closeable
from compress.core.content_cache import code_sha256
from compress.core.installation import imported
from compress.core.plain_text import one_line
from compress.core.versions import versions
from compress.errors import UnavailableError, UsageError

#: Seconds until a cluster answers that is there.
_CONNECT_S = 10.0
#: Seconds until a machine says which compress it has: a new process there imports Ray and compress first.
_ANSWER_S = 180.0
_START = (
    "start one: ray start --head on one machine, ray start --address=ADDRESS on the others, "
    "and compress on one of them"
)


@dataclass(frozen=True)
class Machine:
    """A machine of a cluster.

    Attributes:
        id: Ray's own identity of it.
        name: Address for people.
        cpus: Number of processors that it gives to tasks.
        gpus: Number of GPUs that it gives to tasks.
        resources: Names of all resources that it holds, a board's among them.
    """

    id: str
    name: str
    cpus: int
    gpus: int
    resources: frozenset[str]


class Cluster(Closeable):
    """A connection to a cluster; a context manager that ends it, unless the caller had one before.

    Args:
        address: ``auto`` for the cluster that this machine is in, or ``HOST:PORT`` of its head.

    Attributes:
        address: Address that was given.
        ray: The package Ray.

    Raises:
        UsageError: The text is no address.
        UnavailableError: Ray is not installed, no cluster answers, or a machine has another compress.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        _check_address(address)
        # A task without GPUs leaves them to whoever set them; what Ray counts of its use stays where it is.
        for name in ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_USAGE_STATS_ENABLED"):
            os.environ.setdefault(name, "0")
        self.ray = imported("ray", "ray", "for --cluster")
        self._ours = not self.ray.is_initialized()
        if self._ours:
            _check_answers(address)
            self._connect()
        try:
            self.check_versions()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        try:
            self.ray.init(
                address=self.address, log_to_driver=False, logging_level="ERROR", configure_logging=False
            )
        except Exception as error:  # Ray raises what its layers raise
            problem = one_line(str(error))[:200] or type(error).__name__
            raise UnavailableError(f"a Ray cluster at {self.address}", problem, _START) from error

    @property
    def here(self) -> str:
        """Return Ray's identity of the machine that this process runs on."""
        identity: str = self.ray.get_runtime_context().get_node_id()
        return identity

    def machines(self) -> list[Machine]:
        """Return the machines that are there now, in the order of their identities."""
        alive = []
        for node in self.ray.nodes():
            if node["Alive"]:
                held = node["Resources"]
                name = node.get("NodeName") or node["NodeManagerAddress"]
                counts = int(held.get("CPU", 0)), int(held.get("GPU", 0))
                alive.append(Machine(node["NodeID"], name, *counts, frozenset(held)))
        return sorted(alive, key=lambda machine: machine.id)

    def on(self, machine: str, function: Callable[..., Any], **resources: Any) -> Any:
        """Return a function as a task that runs on one machine alone.

        Args:
            machine: Ray's identity of the machine.
            function: The function.
            **resources: Further options of the task, as Ray takes them.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        chosen = NodeAffinitySchedulingStrategy(machine, soft=False)
        return self.ray.remote(function).options(scheduling_strategy=chosen, **resources)

    def check_versions(self) -> None:
        """Compare what makes builds on every machine with what is installed here.

        Raises:
            UnavailableError: A machine has another compress, another package that makes builds, or none.
        """
        others = [machine for machine in self.machines() if machine.id != self.here]
        asked = [self.on(machine.id, _described, num_cpus=0).remote() for machine in others]
        for machine, answer in zip(others, asked, strict=True):
            try:
                there = self.ray.get(answer, timeout=_ANSWER_S)
            except self.ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                last = str(cause).strip().splitlines()[-1:]
                raise UnavailableError(
                    f"compress on {machine.name}, a machine of the cluster",
                    one_line(f"{type(cause).__name__}: {''.join(last)}")[:200],
                    "install there what is installed here, or take that machine out",
                ) from error
            difference = differing(there)
            if difference is not None:
                raise UnavailableError(
                    f"the same versions on {machine.name} as here: {difference[0]}",
                    difference[1],
                    "install there what is installed here, or take that machine out",
                )

    def close(self) -> None:
        """End the connection; may be called twice."""
        if self._ours and self.ray.is_initialized():
            self.ray.shutdown()


def description() -> dict[str, str]:
    """Return what makes builds on this machine: versions of packages, and a hash of compress itself."""
    return {**versions(), "code of compress": code_sha256()[:12]}


def differing(there: dict[str, str]) -> tuple[str, str] | None:
    """Return what is here and what another machine has, of the first package that differs; None where all agree.

    Args:
        there: Result of :func:`description` there.
    """
    here = description()
    for name in (*here, *there):
        if here.get(name) != there.get(name):
            return f"{name} {here.get(name, 'absent')}", f"{there.get(name, 'absent')}"
    return None


def _described() -> dict[str, str]:
    """Return what another machine has; it runs there."""
    return description()


def _check_address(address: str) -> None:
    host, separator, port = address.rpartition(":")
    if address != "auto" and not (host and separator and port.isdigit()):
        raise UsageError(
            "--cluster auto, or HOST:PORT of a Ray cluster's head", repr(address), "correct --cluster"
        )


def _check_answers(address: str) -> None:
    """Refuse an address where nothing listens, for which Ray itself would wait long."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        problem = f"no answer there ({error.strerror or error})"
        raise UnavailableError(f"a Ray cluster at {address}", problem, _START) from error
