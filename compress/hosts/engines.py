"""TensorRT engines on the machine they are for: built once of each graph, kept there until the run is done.

An engine's directory is named by all that it depends on: the graph's sha256, TensorRT's release, the GPU, the board,
the options, and which of several builds it is, since two builds of one graph differ in speed (TensorRT issue 4730).
"""

from __future__ import annotations

import hashlib
import json
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from compress.backends.base import Artifact
from compress.backends.tensorrt import build_arguments
from compress.backends.trtexec import TensorRtOptions
from compress.backends.trtexec_output import Layer, layers_of
from compress.errors import BundleError, UnavailableError
from compress.hosts.board import Board, free_memory_mb
from compress.hosts.failures import failure
from compress.hosts.jobs import Ended, run_job
from compress.hosts.shell import Shell
from compress.hosts.transfer import checked, receive, send, send_bytes
from compress.onnx_graph.files import files_of

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.target.target import Target

#: A board takes minutes to build a large network without a timing cache.
BUILD_SECONDS = 3600.0
#: What the builder and CUDA take before any kernel is tried, MiB, and how many times the graph's size they add.
_BUILDER_MB = 400
_BUILDER_PER_MB = 3
_LEAST_WORKSPACE_MB = 64
#: With so much free memory the builder may take what it likes.
_PLENTY_MB = 16384


@dataclass(frozen=True)
class Engine:
    """An engine on its machine.

    Attributes:
        directory: Directory on the machine that holds ``model.engine`` and ``layers.json``.
        layers: Layers as TensorRT fused them.
        artifact: Graph that it was built from.
        arguments: Arguments of ``trtexec`` that built it.
    """

    directory: str
    layers: tuple[Layer, ...]
    artifact: Artifact
    arguments: tuple[str, ...]


class Engines:
    """Builds engines on a machine and runs ``trtexec`` on them.

    Args:
        shell: Shell of the machine.
        board: Description of the machine.
        beat: Command line that keeps the machine's lock alive.
        seconds: Time limit of a build, and of any other run, in seconds.
    """

    def __init__(
        self, shell: Shell, board: Board, beat: str = "true", seconds: float = BUILD_SECONDS
    ) -> None:
        self.shell, self.board = shell, board
        self._beat, self._seconds = beat, seconds
        base = checked(shell, 'printf %s "${XDG_CACHE_HOME:-$HOME/.cache}/compress"').text
        self._base = base
        self._used: set[str] = set()

    def engine(
        self,
        artifact: Artifact,
        inputs: Sequence[TensorSpec],
        precision: str,
        target: Target,
        build: int,
    ) -> Engine:
        """Return an engine of a graph, built where there is none yet.

        Args:
            artifact: Artifact with the graph.
            inputs: Inputs of the graph.
            precision: Precision of the graph, for releases that must be told.
            target: Target, whose batch sizes are those of the optimization profile.
            build: Number of the engine among several of the same graph, from 0.

        Raises:
            CompressError: The engine cannot be built; see :mod:`compress.hosts.failures`.
        """
        exact = replace(target, tensorrt=self.board.tensorrt)
        timing = f"{self._base}/timing-{self.board.tensorrt}-{self.board.compute_capability}-{build}.cache"
        options = TensorRtOptions.read(artifact.options)

        def arguments(workspace_mb: int | None) -> list[str]:
            return build_arguments(
                exact,
                inputs,
                precision,
                "../model.onnx",
                timing_cache=timing,
                workspace_mb=workspace_mb,
                dla_core=options.dla_core,
                sparse=options.sparse_2_4,
            )

        graph = f"{self._base}/engines/{self._key(artifact, arguments(None))}"
        directory = f"{graph}/build-{build}"
        self._used |= {graph, timing}
        if not self._intact(directory):
            at = shlex.quote(directory)
            checked(self.shell, f"umask 077 && rm -rf {at} && mkdir -p {at}")
            send(self.shell, artifact.path, f"{graph}/model.onnx")
            for part in files_of(artifact.path)[1:]:  # the graph knows them by these names
                place = f"{graph}/{part.relative_to(artifact.path.parent).as_posix()}"
                checked(self.shell, f"umask 077 && mkdir -p {shlex.quote(str(PurePosixPath(place).parent))}")
                send(self.shell, part, place)
            self._build(directory, arguments(self._workspace_mb(artifact)))
        layers = layers_of(receive(self.shell, f"{directory}/layers.json").decode(errors="replace"))
        return Engine(directory, layers, artifact, tuple(arguments(None)))

    def execute(
        self,
        directory: str,
        arguments: Sequence[str],
        doing: str,
        *,
        writes: Sequence[str] = (),
        beside: Sequence[str] = (),
    ) -> Ended:
        """Run ``trtexec`` in a directory; ``writes`` and ``beside`` as in :func:`run_job`.

        Raises:
            CompressError: The run failed; see :func:`compress.hosts.failures.failure`.
        """
        name = f"job-{uuid.uuid4().hex[:12]}"
        command, limit = [self.board.trtexec, *arguments], self._seconds
        ended = run_job(
            self.shell,
            directory,
            name,
            command,
            limit,
            writes=writes,
            beside=beside,
            beat=self._beat,
            # CUDA numbers cards by speed unless told to do it as nvidia-smi does.
            environment={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        )
        error = failure(ended, doing, self.shell.name, limit)
        if error is not None:
            raise error
        return ended

    def run(
        self,
        engine: Engine,
        arguments: Sequence[str],
        doing: str,
        *,
        writes: Sequence[str],
        beside: Sequence[str] = (),
    ) -> Ended:
        """Run an engine; one that cannot be read is built anew, once.

        Raises:
            CompressError: The run failed; a :class:`BundleError` where the new engine cannot be read either.
        """
        try:
            return self.execute(engine.directory, arguments, doing, writes=writes, beside=beside)
        except BundleError:
            self._build(engine.directory, engine.arguments)
            return self.execute(engine.directory, arguments, doing, writes=writes, beside=beside)

    def put(self, engine: Engine, name: str, content: bytes) -> None:
        """Write a file beside an engine."""
        send_bytes(self.shell, content, f"{engine.directory}/{name}")

    def take(self, engine: Engine, name: str) -> str:
        """Read a text beside an engine.

        Raises:
            UnavailableError: The file is not there.
        """
        return receive(self.shell, f"{engine.directory}/{name}").decode(errors="replace")

    def content(self, engine: Engine, name: str = "model.engine") -> bytes:
        """Return the bytes of the engine, or of another file beside it.

        Raises:
            UnavailableError: The file is not there.
        """
        return receive(self.shell, f"{engine.directory}/{name}")

    def discard(self, engine: Engine, pattern: str) -> None:
        """Remove the files beside an engine whose names match a pattern of the shell there."""
        checked(self.shell, f"cd {shlex.quote(engine.directory)} && rm -f -- ./{pattern}")

    def remove(self) -> None:
        """Remove everything that this run left there."""
        if self._used:
            self.shell.run(f"rm -rf {shlex.join(sorted(self._used))}", seconds=600)
        base = shlex.quote(self._base)
        self.shell.run(f"rmdir {base}/engines {base} 2>/dev/null")

    def _build(self, directory: str, arguments: Sequence[str]) -> None:
        self.execute(directory, arguments, "build an engine", writes=("model.engine", "layers.json"))
        checked(self.shell, f"cd {shlex.quote(directory)} && sha256sum model.engine layers.json > built")

    def _key(self, artifact: Artifact, arguments: Sequence[str]) -> str:
        # The free memory of the day is not part of it, nor where the timing cache lies.
        lasting = [argument for argument in arguments if not argument.startswith("--timingCacheFile")]
        board = [self.board.model, self.board.tensorrt, self.board.compute_capability]
        return hashlib.sha256(json.dumps([artifact.sha256, *board, *lasting]).encode()).hexdigest()[:24]

    def _intact(self, directory: str) -> bool:
        at = shlex.quote(directory)
        return self.shell.run(f"cd {at} && sha256sum -c built >/dev/null 2>&1", seconds=600).code == 0

    def _workspace_mb(self, artifact: Artifact) -> int | None:
        """Return the memory left for kernels in MiB; None where there is plenty.

        Raises:
            UnavailableError: Not even the builder fits.
        """
        free = free_memory_mb(self.shell, self.board.device)
        if free is None or free >= _PLENTY_MB:
            return None
        needed = _BUILDER_MB + _BUILDER_PER_MB * artifact.size_bytes // 2**20
        if free - needed < _LEAST_WORKSPACE_MB:
            raise UnavailableError(
                f"{needed + _LEAST_WORKSPACE_MB} MiB of free memory on {self.shell.name} to build",
                f"{free} MiB",
                "close what else runs there (the desktop first: sudo systemctl isolate multi-user.target)",
            )
        return (free - needed) // 2 if free - needed >= 2 * _LEAST_WORKSPACE_MB else _LEAST_WORKSPACE_MB
