"""The interface of hosts, which run artifacts and measure or estimate their latency."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
    from pathlib import Path

    from compress.core.progress import Reporter
    from compress.data.task import Task
    from compress.profiling.energy import Energy
    from compress.records.coverage import Coverage
    from compress.records.decoder_speed import DecoderSpeed
    from compress.records.draft_speed import DraftSpeed
    from compress.records.layer_time import LayerTime
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
        original: The fp32 build; opened where :attr:`Host.opens_original` says that timing needs its session.
        fastest: File and session options with which fp32 is fastest, by batch size: the build itself, or the user's own
            file with default options. For a batch size left out it is the build.
    """

    original: Build
    fastest: Mapping[int, Artifact] = field(default_factory=dict)

    def at(self, batch: int) -> Artifact:
        """Return the fp32 build that a ratio at a batch size refers to."""
        return self.fastest.get(batch, self.original.artifact)


@dataclass(frozen=True)
class Tuned:
    """A build with the session options that it ships with.

    Attributes:
        artifact: Artifact with these options.
        costs: Time with these options over the time with the fastest ones, by batch size; empty where no others were
            tried.
    """

    artifact: Artifact
    costs: Mapping[int, float] = field(default_factory=dict)


class Host(ABC):
    """A machine, or an estimate, that tells how long a build takes on the target.

    Attributes:
        source: Whether its figures are measured or estimated.
        backend: Back end that runs the original network: on the target where it is here, else on this machine. A build
            may name another one and is then measured in it.
        opens_original: Whether builds are timed against a session of the original that is open in this process.
        builds_take_seconds: Whether measuring a build takes seconds, not minutes as on a board.
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
        """Restore the machine to the state it was found in."""
        return

    def adapt(self, target: Target) -> Target:
        """Return the target with the releases that this host really has."""
        return target

    def fingerprint(self) -> dict[str, Any]:
        """Return the fingerprint of the machine that figures are measured on."""
        return dict(fingerprint())

    def conditions(self, artifact: Artifact) -> dict[str, Any] | None:
        """Return the present conditions, which change from run to run; None where nothing is measured.

        Args:
            artifact: The build that is measured; its session options say what it runs with.
        """
        return None

    def exclusive(self) -> AbstractContextManager[None]:
        """Reserve the machine while one candidate is measured."""
        return nullcontext()

    def open(self, artifact: Artifact, target: Target) -> Session:
        """Open a session over an artifact on the machine that measures it.

        Args:
            artifact: Artifact to open.
            target: Target of the build.
        """
        return load_backend(artifact.backend).open(artifact)

    def coverage(self, build: Build) -> Coverage | None:
        """Return the coverage of a measured build; see :meth:`Backend.coverage`."""
        return load_backend(build.artifact.backend).coverage(build.artifact)

    def doubts(self, build: Build) -> tuple[str, ...]:
        """Return reasons to doubt this host's figures of a measured build, a sentence each."""
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
        """Return the latency at each batch size of the target that the network can take.

        Args:
            build: Build to time.
            reference: The fp32 build that it is compared with; None compares it with nothing.
            task: Real samples to feed; None feeds seeded noise.
            target: Target to time it for; its first batch size decides.
            rival: Upper bound of the best build's time over fp32's at the first batch size. A build that proves slower
                is not timed further. None where there is no other build; 0 for a build that cannot be chosen whatever
                its time.
        """

    def first_ratio(self, artifact: Artifact, fp32: Artifact, task: Task, target: Target) -> float | None:
        """Return a build's time over fp32's at the target's first batch size, from a single start of both.

        Returns:
            The ratio; None where this would take as long as a measurement.
        """
        return None

    def try_out(self, build: Build, target: Target, task: Task | None = None) -> None:
        """Run a build for the first time, in another process: a crash of its runtime takes nothing with it.

        Args:
            build: The opened build.
            target: Target of the build.
            task: Real samples to feed; None feeds seeded noise.

        Raises:
            NetworkError: The build cannot be run, or its runtime crashes.
        """
        return

    def reference(
        self, artifact: Artifact, given: Artifact | None, task: Task, target: Target, threads: int | None
    ) -> tuple[Tuned, dict[int, Artifact]]:
        """Return the fp32 build with its session options, and the fastest fp32 at each batch size.

        Args:
            artifact: The fp32 build, with the runtime's default options.
            given: The user's own file as the runtime opens it by default; None where the network came in another form.
            task: Real samples to feed.
            target: Target of the build; its first batch size decides.
            threads: Number of threads that the user fixed; None leaves it open.

        Returns:
            The artifact to ship where nothing beats fp32: the build, or the user's own file where the build would be
            slower; and the fp32 by batch size, as in :attr:`Reference.fastest`.
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
        """Return the artifact with the session options that are fastest on the target; unchanged where none are tried.

        Args:
            artifact: A build with the back end's default options.
            task: Real samples to feed.
            target: Target of the build; its first batch size decides, and at no other one may the build get slower than
                fp32.
            threads: Number of threads that the user fixed; None leaves it open.
            known: Fastest options of the back end's first build; None for that build itself.
            kept: Options that stay as they are; None for none.
            fastest: The fp32 by batch size, as in :attr:`Reference.fastest`; None where it is unknown.
            compared: Whether options are compared; if not, ``known`` are taken.
        """
        return Tuned(artifact)

    @abstractmethod
    def layers(self, build: Build, target: Target, task: Task | None = None) -> tuple[LayerTime, ...]:
        """Return the time of each layer at the first batch size, as far as this host can tell.

        Args:
            build: Build to examine.
            target: Target of the build.
            task: Real samples to feed; None feeds seeded noise.
        """

    def energy(self, build: Build, target: Target, task: Task | None = None) -> Energy | None:
        """Return the measured energy of one call at the target's first batch size; None where it is unknown."""
        return None

    def energy_mj(self, build: Build, target: Target, task: Task | None = None) -> float | None:
        """Return the same energy in millijoules, without its interval and power; None where it is unknown."""
        energy = self.energy(build, target, task)
        return None if energy is None else energy.call_mj

    def parts_ms(self, build: Build, target: Target, task: Task | None = None) -> dict[str, float]:
        """Return the median time of each part of a call at the target's first batch size, in milliseconds, by name."""
        return {}

    def decoding(
        self,
        artifact: Artifact,
        target: Target,
        reporter: Reporter,
        contexts: Sequence[int] = (),
        batches: Sequence[int] = (),
    ) -> tuple[DecoderSpeed, ...]:
        """Return the speed of a decoder of text under several conditions; empty for other builds, and if not measured.

        Args:
            artifact: The build.
            target: Target of the build.
            reporter: Receives the progress.
            contexts: Numbers of tokens of the prompt, each below the decoder's context; empty takes some.
            batches: Numbers of texts that are computed together; empty takes some.
        """
        return ()

    def with_draft(
        self, artifact: Artifact, target: Target, draft: Path, prompts: Sequence[Sequence[int]], asked: int
    ) -> DraftSpeed | None:
        """Return how a decoder writes with a draft; None for other builds, and where it is not measured.

        Args:
            artifact: The build.
            target: Target of the build.
            draft: ONNX file of the draft, of the same vocabulary.
            prompts: Ids of the tokens of beginnings of texts.
            asked: Largest number of tokens to go on with.
        """
        return None

    def measures_energy(self, target: Target) -> bool:
        """Whether this host measures energy and power, so that they can be limited."""
        return False

    @property
    def measures_memory(self) -> bool:
        """Whether this host measures the peak memory of builds, so that it can be limited."""
        return False

    @abstractmethod
    def peak_memory_mb(self, build: Build, target: Target, task: Task | None = None) -> float | None:
        """Return the peak memory of the build at the first batch size in MiB; None where it is unknown."""


def batch_sizes(session: Session, target: Target) -> tuple[int, ...]:
    """Return the target's batch sizes, or the one size that a network of fixed batch takes."""
    fixed = fixed_batch(session.inputs)
    return tuple(dict.fromkeys(target.batch_sizes)) if fixed is None else (fixed,)
