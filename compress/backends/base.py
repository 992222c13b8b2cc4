"""The interface of back ends: compile an ONNX graph into an artifact, open it, run it.

A new back end is one file with a :class:`Backend` subclass and its line in :mod:`compress.target.backends`; another
distribution registers its class under the entry point group ``compress.backends``. :mod:`compress.testing.backends` is
the suite that its tests inherit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.backends.session_options import SessionOptions
from compress.core.closeable import Closeable
from compress.errors import NetworkError
from compress.target.arithmetic import PEAK_OF, QuantizationFlavour

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from compress.core.tensor_spec import TensorSpec
    from compress.records.coverage import Coverage
    from compress.target.target import Target


@dataclass(frozen=True)
class Artifact:
    """A compiled build on disk.

    Attributes:
        path: File that a session opens.
        sha256: sha256 of that file (and its external data, if any).
        size_bytes: Size of that file (and its external data, if any), in bytes.
        backend: Name of the back end that opens it.
        options: Session options, as the manifest stores them; :func:`compress.backends.session_options_of` reads them.
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
        metadata: Texts that the artifact carries for whoever runs it, by their keys.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str] = {}

    def taken(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Mapping[str, np.ndarray[Any, Any]]:
        """Return the part of a call that the artifact takes; see :mod:`compress.backends.narrowed`.

        Args:
            feeds: Arrays of a call of the network that it was made of, by the input's name.
        """
        return feeds

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

    def part_calls(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Mapping[str, Callable[[], object]]:
        """Return the parts of :meth:`timed_call` as calls, by name; empty where it has no parts.

        Args:
            feeds: Inputs, as :meth:`run` takes them.
        """
        return {}

    def timed_call(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Make the call whose time is the latency: :meth:`run`, or for an encoder–decoder a whole answer.

        Args:
            feeds: Inputs, as :meth:`run` takes them.
        """
        self.run(feeds)

    def prepared(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Callable[[], object]:
        """Return a call that runs ``feeds``, checked beforehand, with as little overhead as possible.

        Args:
            feeds: Inputs, as :meth:`run` takes them; they must not change as long as the call is used.

        Raises:
            DataError: The feeds do not fit.
        """
        self.run(feeds)
        return partial(self.run, feeds)

    def at_once(self, sample_bytes: int) -> int | None:
        """Return the number of samples that one call should hold where calls are dear; None where they are not.

        Args:
            sample_bytes: Size of a sample's inputs and outputs.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Free the session's resources; may be called twice."""


class Backend(ABC):
    """A compiler and runtime. An object of it costs nothing to make: it holds no session and imports no runtime.

    Attributes:
        name: In targets, recipes, manifests and profiles.
        runtime: The package that runs its artifacts, as it is imported.
        title: Name that people use for it, for messages; empty where that is the name.
        computes: Precisions that a target may list for it.
        flavour: The only int8 Q/DQ that it reads; None where each target's file says how Q/DQ must look.
        beside_only: Whether it only competes beside a target's own back end, and cannot be that itself.
        builds_engines: Whether engines are built of its artifacts where they run, for shapes that must be known.
        contrib_operators: Whether it runs the operators that ONNX Runtime adds to ONNX (domain ``com.microsoft``), such
            as matrix products with 4-bit weights.
        decodes: Whether it runs decoders of text with weights of floats, 8 or 4 bits, where it does not run these
            operators in other networks.
        session_options: Class of its session options; it declares their types, ranges and defaults.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]
    title: ClassVar[str] = ""
    computes: ClassVar[tuple[str, ...]] = tuple(PEAK_OF)
    flavour: ClassVar[QuantizationFlavour | None] = None
    beside_only: ClassVar[bool] = False
    builds_engines: ClassVar[bool] = False
    contrib_operators: ClassVar[bool] = False
    decodes: ClassVar[bool] = False
    session_options: ClassVar[type[SessionOptions]] = SessionOptions

    def installed(self) -> bool:
        """Whether the package that runs its artifacts is installed; it is not imported."""
        return find_spec(self.runtime) is not None

    def how_to_install(self) -> str:
        """Return how to install the runtime, as an imperative."""
        return f"install the package that provides '{self.runtime}'"

    def precisions(self, target: Target) -> tuple[str, ...]:
        """Precisions worth trying on a target whose file does not list this back end.

        Args:
            target: Target that the back end would run on; the target names another back end as its own.

        Returns:
            ``fp32`` first. Empty: the back end can be used only on targets that list it.
        """
        return ()

    def contradictions(self, target: Target) -> Iterator[tuple[str, str, str]]:
        """Return what a target's file lacks or has wrong, where this back end is the target's own.

        Yields:
            What was wanted, what was found, and the key to change.
        """
        yield from ()

    def not_supported_reasons(self, model: onnx.ModelProto, target: Target) -> tuple[str, ...]:
        """Return every reason why this back end does not run a graph, each a sentence without a full stop.

        It is asked before anything is compiled, and by ``compress lint``. What only the runtime itself can tell is left
        to :meth:`compile`.

        Args:
            model: The graph; it is not changed.
            target: Target that the graph is to run on.

        Returns:
            None of them where the graph is supported as far as is known.
        """
        return ()

    def check_supported(self, model: onnx.ModelProto, target: Target) -> None:
        """Refuse a graph, with every reason of :meth:`not_supported_reasons`.

        Raises:
            NetworkError: There is a reason.
        """
        reasons = self.not_supported_reasons(model, target)
        if reasons:
            wanted = f"a graph that {self.title or self.name} runs on {target.name}"
            raise NetworkError(wanted, "; also: ".join(reasons), "choose another back end of the target")

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
    def coverage(self, artifact: Artifact) -> Coverage | None:
        """Return how much of the graph runs in fused low-precision kernels, from the graph the runtime executes.

        Returns:
            The coverage; None where the runtime does not report it.
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
