"""The interface of back ends: compile an ONNX graph into an artifact, open it, run it.

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
        path: File that a session opens.
        sha256: sha256 of that file (and its external data, if any).
        size_bytes: Size of that file (and its external data, if any), in bytes.
        backend: Name of the back end that opens it.
        options: Session options, as the manifest stores them.
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
        name: Name of its node.
        operator: Type of the operator, as the runtime names it.
        kind: Class of operators it belongs to; ``unknown`` where its cost is.
        outputs: Shapes of its outputs.
        precision: Precision in which it computes: ``fp32``, ``int8``, …
        macs: Multiply-accumulate operations of one call; None where they are unknown.
        bytes: Bytes that it reads and writes in one call.
        ms: Time of one call, in milliseconds.
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
    """Times of the operators in a call.

    Attributes:
        call_ms: Time of the whole call, in milliseconds; the part that is not in operators is spent between them.
        operators: Operators in the order in which they run.
    """

    call_ms: float
    operators: tuple[OperatorTime, ...]


class Session(Closeable):
    """An opened artifact: a context manager that runs batches.

    Attributes:
        inputs: Inputs of the artifact; axis 0 is "batch" where it takes any number of samples.
        outputs: Outputs of the artifact.
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
        """Return a call that runs ``feeds``, checked beforehand, with as little overhead as possible.

        Args:
            feeds: Inputs, as :meth:`run` takes them; they must not change as long as the call is used.

        Raises:
            DataError: The feeds do not fit.
        """
        self.run(feeds)
        return partial(self.run, feeds)

    @abstractmethod
    def close(self) -> None:
        """Free the session's resources; may be called twice."""


class Backend(ABC):
    """A compiler and runtime.

    Attributes:
        name: Name in targets, manifests and profiles.
        runtime: Module of the package that runs its artifacts.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]

    def installed(self) -> bool:
        """Whether the package that runs its artifacts is installed; it is not imported."""
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
        """Return the default session options for a target.

        Args:
            target: Target of the deployment.
            threads: Number of threads that the user fixed; None leaves it to the back end.
        """

    @abstractmethod
    def variants(
        self, options: Mapping[str, Any], target: Target, threads: int | None = None
    ) -> list[dict[str, Any]]:
        """Return session options worth trying instead of ``options``.

        Args:
            options: Options of :meth:`default_options`, which are not among the variants.
            target: Target of the deployment.
            threads: Number of threads that the user fixed, which no variant changes; None leaves it open.
        """

    @abstractmethod
    def coverage(self, artifact: Artifact) -> dict[str, Any] | None:
        """Return how much of the graph runs in fused low-precision kernels, from the graph the runtime executes.

        Returns:
            A dict for JSON, or None where the runtime does not report it.
        """

    def operator_times(
        self, artifact: Artifact, feeds: Mapping[str, np.ndarray[Any, Any]], seconds: float
    ) -> OperatorTimes | None:
        """Time each operator with the runtime's own profiler, in a separate session.

        Args:
            artifact: Artifact to run.
            feeds: Inputs of one batch.
            seconds: Wall time to spend on calls, in seconds.

        Returns:
            Times of the operators; None where the runtime does not report them.
        """
        return None
