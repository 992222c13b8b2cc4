"""A board's shell through a worker of a Ray cluster that is near it and reaches it over ssh.

The worker holds one resource of Ray's for each such board, ``board:ADDRESS``, where the address is what ``ssh`` takes
there. The board itself runs nothing of Ray. A worker that is gone is waited for, or another that holds the same
resource goes on.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

from compress.core.plain_text import one_line
from compress.errors import CompressError, ConnectionLostError, UnavailableError
from compress.hosts.shell import SECONDS, Done, Shell
from compress.hosts.ssh import PAUSES, SshShell

if TYPE_CHECKING:
    from compress.hosts.cluster import Cluster

#: How the name of a board's resource begins.
RESOURCE = "board:"
#: A worker's share of the resource: its board takes one user at a time by its own lock, and several may wait for it.
_SHARE = 0.001
#: Seconds, besides the command's own, until an answer comes: a worker may have to connect again first.
_LONGER_S = 120.0


class Relay:
    """Runs commands on a board, in a worker near it.

    Args:
        address: Address of the board, as ``ssh`` takes it there.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._shell: SshShell | None = None

    def run(self, command: str, content: bytes, once: bool, seconds: float) -> Done | CompressError:
        """Run a command as :meth:`Shell.run` does; an error of ours is returned, so that it stays one.

        Args:
            command: Command line.
            content: Standard input.
            once: Whether the command must not be sent twice.
            seconds: Time limit, in seconds.
        """
        try:
            if self._shell is None:
                self._shell = SshShell(self._address)
            if not once:
                return self._shell.run(command, content, seconds)
            with tempfile.TemporaryFile() as file:
                file.write(content)
                file.flush()
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                return self._shell.run(command, file, seconds)
        except CompressError as error:
            return error


class ClusterShell(Shell):
    """The shell of a board that a worker of the cluster reaches.

    Args:
        cluster: The cluster.
        address: Address of the board, as ``ssh`` takes it on the worker.
        pauses: Pause before each attempt to reach a worker again, in seconds; None for those of a dropped connection.

    Raises:
        UnavailableError: No worker holds the board, or ssh does not reach it from there.
    """

    def __init__(self, cluster: Cluster, address: str, pauses: tuple[float, ...] | None = None) -> None:
        self.name = address
        self._cluster = cluster
        self._resource = RESOURCE + address
        self._pauses = PAUSES if pauses is None else pauses
        self._relay: Any = None
        if not self._held():
            boards = sorted({name for machine in cluster.machines() for name in _boards(machine.resources)})
            raise UnavailableError(
                f"a worker for the target {address}: one that holds the resource {self._resource}",
                f"{', '.join(boards) or 'no board'} among {len(cluster.machines())} machines of the cluster",
                "start one near the board: ray start --address=HEAD --resources='{\""
                + self._resource
                + "\": 1}'",
            )
        try:
            self.run("true")
        except BaseException:
            self.close()
            raise

    def run(self, command: str, stdin: bytes | IO[bytes] = b"", seconds: float = SECONDS) -> Done:
        """See :meth:`Shell.run`; a file is sent in one piece, and never a second time."""
        content, once = (stdin, False) if isinstance(stdin, bytes) else (stdin.read(), True)
        ray = self._cluster.ray
        reason = "its worker is gone"
        for pause in (0.0, *self._pauses):
            time.sleep(pause)
            if self._relay is None:
                if not self._held():
                    continue
                self._relay = self._new_relay()
            answer_ref = self._relay.run.remote(command, content, once, seconds)
            try:
                answer: Done | CompressError = ray.get(answer_ref, timeout=seconds + _LONGER_S)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
                reason = one_line(str(error).strip().partition("\n")[0])[:200] or reason
                self._drop()
                if once:
                    break
                continue
            if isinstance(answer, CompressError):
                raise answer
            return answer
        raise ConnectionLostError(
            f"an answer from {self.name} through the cluster",
            reason,
            "give the same command again when it is back: what was measured is kept",
        )

    def close(self) -> None:
        """See :meth:`Shell.close`."""
        self._drop()

    def _held(self) -> bool:
        return any(self._resource in machine.resources for machine in self._cluster.machines())

    def _new_relay(self) -> Any:
        return (
            self._cluster.ray.remote(Relay)
            .options(num_cpus=0, resources={self._resource: _SHARE})
            .remote(self.name)
        )

    def _drop(self) -> None:
        if self._relay is not None and self._cluster.ray.is_initialized():
            self._cluster.ray.kill(self._relay)
        self._relay = None


def _boards(resources: frozenset[str]) -> list[str]:
    return [name for name in resources if name.startswith(RESOURCE)]
