"""Where artifacts run, and where their latency comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from compress.backends import load_backend
from compress.backends.base import Artifact, Backend, Session
from compress.hosts.machine import fingerprint
from compress.record import Latency, Source

if TYPE_CHECKING:
    from compress.target import Target
    from compress.task import Task


@dataclass(frozen=True)
class Build:
    """An artifact and the session it is open in."""

    artifact: Artifact
    session: Session


class Host(ABC):
    """A place that can say how long a build takes on the target.

    Attributes:
        source: Whether its figures are measured or estimated.
        backend: Runs the original network: on the target itself where it is here, else on this machine. A build may
            name another one, which is then what it is measured in.
    """

    source: ClassVar[Source]
    backend: Backend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the machine as it was found."""
        return

    def adapt(self, target: Target) -> Target:
        """The target with the releases that this host really has."""
        return target

    def fingerprint(self) -> dict[str, Any]:
        """What identifies the machine that figures are measured on."""
        return dict(fingerprint())

    def conditions(self, options: Mapping[str, Any]) -> dict[str, Any] | None:
        """What changes from run to run on one machine, now; None where nothing is measured.

        Args:
            options: Session options of the artifact.
        """
        return None

    def exclusive(self) -> AbstractContextManager[None]:
        """The machine to oneself, as long as one candidate is measured."""
        return nullcontext()

    def open(self, artifact: Artifact, target: Target) -> Session:
        """A session over an artifact where it is measured.

        Args:
            artifact: What is opened.
            target: What it is for.
        """
        return load_backend(artifact.backend).open(artifact)

    def coverage(self, build: Build) -> dict[str, Any] | None:
        """As :meth:`Backend.coverage`, of the build that is measured."""
        return load_backend(build.artifact.backend).coverage(build.artifact)

    def doubts(self, build: Build) -> tuple[str, ...]:
        """What makes this host's figures of a build doubtful, a sentence each; asked once it is measured."""
        return ()

    @abstractmethod
    def latency(
        self, build: Build, original: Build | None, task: Task | None, target: Target
    ) -> tuple[Latency, ...]:
        """Latency at each batch size of the target that the network can take.

        Args:
            build: What is timed.
            original: The fp32 build it is compared with; None for the fp32 build itself.
            task: Real samples to feed; None feeds seeded noise.
            target: What it is timed for.
        """

    @abstractmethod
    def tune(self, artifact: Artifact, task: Task, target: Target, threads: int | None) -> Artifact:
        """The same artifact with the session options that make it fastest on the target.

        Args:
            artifact: The first build of its back end, with default options; every later one takes over its options.
            task: Real samples to feed.
            target: What it is for.
            threads: What the user fixed; None leaves it open.
        """

    @abstractmethod
    def layers(self, build: Build, target: Target) -> tuple[dict[str, Any], ...]:
        """Where the time goes, layer by layer, as far as this host can tell."""

    def energy_mj(self, build: Build, target: Target) -> float | None:
        """Energy of one call at the first batch size in millijoules, or None where this host cannot tell."""
        return None

    @abstractmethod
    def peak_memory_mb(self, build: Build, target: Target) -> float | None:
        """Peak memory of the build in MiB, or None where this host cannot tell."""


def batch_sizes(session: Session, target: Target) -> tuple[int, ...]:
    """The target's batch sizes, or the one size that a network of fixed batch takes."""
    spec = session.inputs[0]
    if spec.dynamic_batch or not spec.shape:
        return tuple(dict.fromkeys(target.batch_sizes))
    return (int(spec.shape[0]),)
