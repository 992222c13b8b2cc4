"""Where artifacts run, and where their latency comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from compress.backends import load_backend
from compress.backends.base import Artifact, Backend, Session
from compress.core.tensor_spec import fixed_batch
from compress.machine.machine import fingerprint
from compress.records.profile import Latency, Source

if TYPE_CHECKING:
    from compress.data.task import Task
    from compress.target.target import Target


@dataclass(frozen=True)
class Build:
    """An artifact and the session it is open in."""

    artifact: Artifact
    session: Session


@dataclass(frozen=True)
class Reference:
    """The fp32 network that ratios refer to.

    Attributes:
        original: The fp32 build; open where :attr:`Host.opens_original` says that timing needs its session.
        fastest: Batch size → the file and the session options with which fp32 is fastest there: the build itself, or
            the user's own file as the runtime opens it by default. A batch size that is left out is the build's.
    """

    original: Build
    fastest: Mapping[int, Artifact] = field(default_factory=dict)

    def at(self, batch: int) -> Artifact:
        """The fp32 that a ratio at a batch size refers to."""
        return self.fastest.get(batch, self.original.artifact)


@dataclass(frozen=True)
class Tuned:
    """A build with the session options that it ships with.

    Attributes:
        artifact: The file with these options.
        costs: Batch size → time with these options over the time with those that are fastest there; empty where no
            others were tried.
    """

    artifact: Artifact
    costs: Mapping[int, float] = field(default_factory=dict)


class Host(ABC):
    """A place that can say how long a build takes on the target.

    Attributes:
        source: Whether its figures are measured or estimated.
        backend: Runs the original network: on the target itself where it is here, else on this machine. A build may
            name another one, which is then what it is measured in.
        opens_original: Whether builds are timed against a session of the original that is open in this process.
        builds_take_seconds: Whether a build is measured in seconds, and not in minutes as on a board.
    """

    source: ClassVar[Source]
    backend: Backend
    opens_original: ClassVar[bool] = True
    builds_take_seconds: bool = True

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
        self,
        build: Build,
        reference: Reference | None,
        task: Task | None,
        target: Target,
        rival: float | None = None,
    ) -> tuple[Latency, ...]:
        """Latency at each batch size of the target that the network can take.

        Args:
            build: What is timed.
            reference: The fp32 that it is compared with; None compares it with nothing.
            task: Real samples to feed; None feeds seeded noise.
            target: What it is timed for; its first batch size decides.
            rival: The time over fp32's at the first batch size that the best build so far is known not to exceed. A
                build that is seen to be slower is not timed any further. None where there is no other build; 0 for a
                build that is out of the race whatever its time.
        """

    def first_ratio(self, artifact: Artifact, fp32: Artifact, task: Task, target: Target) -> float | None:
        """A build's time over fp32's at the target's first batch size, from a single start of both.

        Returns:
            None where a look takes as long as a measurement.
        """
        return None

    def try_out(self, build: Build, target: Target, task: Task | None = None) -> None:
        """Run a build for the first time, in another process: a crash of its runtime takes nothing with it.

        Args:
            build: The build, opened.
            target: What it is for.
            task: Real samples to feed; None feeds seeded noise.

        Raises:
            NetworkError: It cannot be run, or its runtime crashes.
        """
        return

    def reference(
        self, artifact: Artifact, given: Artifact | None, task: Task, target: Target, threads: int | None
    ) -> tuple[Tuned, dict[int, Artifact]]:
        """The fp32 build with its session options, and the fp32 that is fastest at each batch size.

        Args:
            artifact: The fp32 build, with the runtime's default options.
            given: The user's own file as the runtime opens it by default; None where the network came in another form.
            task: Real samples to feed.
            target: What it is for; its first batch size decides.
            threads: What the user fixed; None leaves it open.

        Returns:
            What ships where nothing beats fp32: the build, or the user's own file where the build would be slower; and
            batch size → fp32 as :attr:`Reference.fastest` has it.
        """
        return Tuned(artifact), {}

    def tune(
        self,
        artifact: Artifact,
        task: Task,
        target: Target,
        threads: int | None,
        *,
        known: Mapping[str, Any] | None = None,
        kept: Mapping[str, Any] | None = None,
        fastest: Mapping[int, Artifact] | None = None,
        compared: bool = True,
    ) -> Tuned:
        """The artifact with the session options that make it fastest on the target; as it is, where none are tried.

        Args:
            artifact: A build with the back end's default options.
            task: Real samples to feed.
            target: What it is for; its first batch size decides, and at no other one the build gets slower than fp32.
            threads: What the user fixed; None leaves it open.
            known: Options that the first build of the back end was found to be fastest with; None for that build.
            kept: Options that stay as they are; None for none.
            fastest: Batch size → fp32 as :attr:`Reference.fastest` has it; None where it is not known.
            compared: Whether options are compared; if not, those of ``known`` are taken.
        """
        return Tuned(artifact)

    @abstractmethod
    def layers(self, build: Build, target: Target, task: Task | None = None) -> tuple[dict[str, Any], ...]:
        """Where the time goes, layer by layer at the first batch size, as far as this host can tell.

        Args:
            build: What is looked at.
            target: What it is for.
            task: Real samples to feed; None feeds seeded noise.
        """

    def energy_mj(self, build: Build, target: Target, task: Task | None = None) -> float | None:
        """Energy of one call at the first batch size in millijoules, or None where this host cannot tell."""
        return None

    @abstractmethod
    def peak_memory_mb(self, build: Build, target: Target, task: Task | None = None) -> float | None:
        """Peak memory of the build at the first batch size in MiB, or None where this host cannot tell."""


def batch_sizes(session: Session, target: Target) -> tuple[int, ...]:
    """The target's batch sizes, or the one size that a network of fixed batch takes."""
    fixed = fixed_batch(session.inputs)
    return tuple(dict.fromkeys(target.batch_sizes)) if fixed is None else (fixed,)
