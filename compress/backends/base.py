"""What every back end offers: compile an ONNX graph into an artifact, open it, run it.

A new back end is one file with a :class:`Backend` subclass; ``tests/backends/conformance.py`` is the suite it
inherits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.core.closeable import Closeable

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from compress.core.tensor_spec import TensorSpec
    from compress.target.target import Target


@dataclass(frozen=True)
class Artifact:
    """A compiled build on disk.

    Attributes:
        path: The file a session opens.
        sha256: Of that file (and its external data, if any).
        size_bytes: Of that file (and its external data, if any).
        backend: Name of the back end that opens it.
        options: Session options, as the manifest keeps them.
    """

    path: Path
    sha256: str
    size_bytes: int
    backend: str
    options: dict[str, Any]


@dataclass(frozen=True)
class OperatorTime:
    """An operator of the graph as the runtime executes it, timed by the runtime.

    Attributes:
        name: Of its node.
        operator: Its type, as the runtime names it.
        kind: Class of operators it belongs to; ``unknown`` where its cost is.
        outputs: Shapes of what it writes.
        precision: In which it computes: ``fp32``, ``int8``, …
        macs: Multiply-accumulate operations of one call; None where they are unknown.
        bytes: It reads and writes in one call.
        ms: Milliseconds of one call.
    """

    name: str
    operator: str
    kind: str
    outputs: tuple[tuple[int, ...], ...]
    precision: str
    macs: int | None
    bytes: int
    ms: float


@dataclass(frozen=True)
class OperatorTimes:
    """Where the time of a call goes.

    Attributes:
        call_ms: Milliseconds of the whole call; what the operators leave of it is spent between them.
        operators: In the order in which they run.
    """

    call_ms: float
    operators: tuple[OperatorTime, ...]


class Session(Closeable):
    """An opened artifact: a context manager that runs batches.

    Attributes:
        inputs: What it takes; axis 0 is "batch" where it takes any number of samples.
        outputs: What it gives.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @abstractmethod
    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Run one batch.

        Args:
            feeds: One array per input name, dtype and shape as in :attr:`inputs`.

        Returns:
            One array per entry of :attr:`outputs`, in that order.

        Raises:
            DataError: A feed is missing, unknown, or of the wrong dtype or shape.
        """

    def prepared(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Callable[[], object]:
        """A call that runs ``feeds``, once they are known to fit, and adds as little as it can to the runtime's time.

        Args:
            feeds: As :meth:`run` takes them; they must not change as long as the call is used.

        Raises:
            DataError: The feeds do not fit.
        """
        self.run(feeds)
        return partial(self.run, feeds)

    @abstractmethod
    def close(self) -> None:
        """Free what the session holds; may be called twice."""


class Backend(ABC):
    """A compiler and runtime.

    Attributes:
        name: In targets, manifests and profiles.
        runtime: The package that runs its artifacts, as it is imported.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]

    def installed(self) -> bool:
        """Whether what runs its artifacts is on this machine: its package, which is not imported."""
        return find_spec(self.runtime) is not None

    @abstractmethod
    def compile(self, model: onnx.ModelProto, directory: Path, options: Mapping[str, Any]) -> Artifact:
        """Compile a graph into an artifact in ``directory``, whole or not at all.

        Raises:
            NetworkError: The back end cannot run the graph; the operator is named.
            UnavailableError: The back end is not installed here.
        """

    @abstractmethod
    def open(self, artifact: Artifact) -> Session:
        """Open an artifact to run it.

        Raises:
            BundleError: The file is damaged.
            UnavailableError: The back end is not installed here.
        """

    @abstractmethod
    def default_options(self, target: Target, threads: int | None = None) -> dict[str, Any]:
        """Session options for a target.

        Args:
            target: What it is deployed on.
            threads: Threads the user asked for; None leaves it to the back end.
        """

    @abstractmethod
    def variants(
        self, options: Mapping[str, Any], target: Target, threads: int | None = None
    ) -> list[dict[str, Any]]:
        """Session options worth trying instead of ``options``.

        Args:
            options: Those of :meth:`default_options`, which are not among the variants.
            target: What it is deployed on.
            threads: What the user fixed and no variant changes; None leaves it open.
        """

    @abstractmethod
    def coverage(self, artifact: Artifact) -> dict[str, Any] | None:
        """How much of the graph runs in fused low-precision kernels, read from what the runtime really executes.

        Returns:
            JSON, or None where the runtime does not tell.
        """

    def operator_times(
        self, artifact: Artifact, feeds: Mapping[str, np.ndarray[Any, Any]], seconds: float
    ) -> OperatorTimes | None:
        """Time per operator by the runtime's own profiler, in a session of its own so that no other is slowed.

        Args:
            artifact: What runs.
            feeds: One batch.
            seconds: Wall time to spend on calls.

        Returns:
            None where the runtime does not tell.
        """
        return None
