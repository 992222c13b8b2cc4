"""``trtexec`` of each TensorRT release: how a built engine is timed, looked into and run on given inputs.

Options per release: ``trtexec --help`` of 8.5, 8.6, 10.3, 10.16 and 11.1. What a release does by default changed with
11.0 (CUDA graphs, spinning, no transfers), so each of these is always said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.backends.base import Artifact, Backend, Session
from compress.backends.session_options import SessionOptions
from compress.backends.tensorrt import has_open_axis, release_of, shapes_text
from compress.core.options import option
from compress.errors import UnavailableError
from compress.target.arithmetic import TENSORRT_FLAVOUR, QuantizationFlavour

if TYPE_CHECKING:
    import onnx

    from compress.core.tensor_spec import TensorSpec
    from compress.target.target import Target

#: Shape of each input that is fed, by its name.
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class TensorRtOptions(SessionOptions):
    """Session options of TensorRT's engines.

    Attributes:
        sparse_2_4: Whether the graph has 2:4 weights; the graph says it, never a recipe.
    """

    dla_core: int | None = option(
        "Number of the deep learning accelerator to build for; None builds for the GPU", None, low=0, high=15
    )
    builds: int = option(
        "Engines that are built of each candidate, since builds of one graph differ", 3, low=1, high=100
    )
    cuda_graph: bool = option("Whether calls are recorded as a CUDA graph and replayed", True)
    sparse_2_4: bool = False


#: Every session option that a recipe may set, with its default.
DEFAULTS = TensorRtOptions().to_dict()


class Trtexec(Backend):
    """TensorRT: its artifact is the graph, and each host builds its own engines of it."""

    name: ClassVar[str] = "tensorrt"
    runtime: ClassVar[str] = "tensorrt"
    title: ClassVar[str] = "TensorRT"
    flavour: ClassVar[QuantizationFlavour | None] = TENSORRT_FLAVOUR
    builds_engines: ClassVar[bool] = True
    session_options: ClassVar[type[SessionOptions]] = TensorRtOptions

    def contradictions(self, target: Target) -> Iterator[tuple[str, str, str]]:
        """See :meth:`Backend.contradictions`."""
        if target.compute_capability is None:
            yield "compute_capability for TensorRT", "no such key", "backend"

    def compile(self, model: onnx.ModelProto, directory: Path, options: Mapping[str, Any]) -> Artifact:
        """See :meth:`Backend.compile`: constants folded, checked by ONNX Runtime, and written as ``model.onnx``."""
        from compress.backends.onnxruntime import OnnxRuntime
        from compress.onnx_graph.zeros import is_2_4

        # Both runtimes read the same Q/DQ graph; what ONNX Runtime refuses need not be sent to a board.
        checked = OnnxRuntime().compile(model, directory, {"qdq_fusion": False})
        settings = TensorRtOptions.read({**DEFAULTS, **options, "sparse_2_4": is_2_4(model)})
        return replace(checked, backend=self.name, options=settings.to_dict())

    def open(self, artifact: Artifact) -> Session:
        """See :meth:`Backend.open`: engines run only where they were built.

        Raises:
            UnavailableError: Always: a host opens these.
        """
        raise UnavailableError(
            "the machine that the engine is for",
            f"{artifact.path.name}, which TensorRT builds and runs there",
            "give --host user@board; or run build.sh of the bundle on the board",
        )

    def default_options(self, target: Target, threads: int | None = None) -> dict[str, Any]:
        """See :meth:`Backend.default_options`."""
        return dict(DEFAULTS)

    def variants(
        self, options: Mapping[str, Any], target: Target, threads: int | None = None
    ) -> list[dict[str, Any]]:
        """See :meth:`Backend.variants`: TensorRT tries its kernels itself."""
        return []

    def coverage(self, artifact: Artifact) -> None:
        """See :meth:`Backend.coverage`: the host tells, from the engine."""
        return


def timing_arguments(
    release: str,
    inputs: Sequence[TensorSpec],
    shapes: Shapes,
    seconds: float,
    *,
    loaded: Mapping[str, str],
    cuda_graph: bool = True,
    times: str = "times.json",
) -> list[str]:
    """Return the options that time an engine host to host, copies included: calls back to back, one stream.

    By default ``trtexec`` keeps two calls in flight, whose copies and kernels overlap: the time of one is then no time
    that a caller sees. ``--exposeDMA`` makes each call wait for the one before.

    Args:
        release: Release of TensorRT.
        inputs: Inputs of the engine.
        shapes: Shapes of the values that are fed, by the input's name.
        seconds: Time of timed calls, in seconds; one more second warms up before.
        loaded: File with the values of each input, by its name.
        cuda_graph: Whether to capture the call as a CUDA graph, as a deployment does; impossible on a DLA.
        times: File that receives the times of each call.
    """
    arguments = [
        "--loadEngine=model.engine",
        *_inputs(inputs, shapes, loaded),
        "--warmUp=1000",
        f"--duration={max(1, round(seconds))}",
        "--iterations=30",
        "--useSpinWait",
        "--exposeDMA",
        f"--exportTimes={times}",
    ]
    new = release_of(release) >= (11,)
    if cuda_graph:
        arguments.append("--useCudaGraph")
    elif new:
        arguments.append("--noCudaGraph")
    if new:
        arguments.append("--includeDataTransfers")
    return arguments


def layer_arguments(
    release: str, inputs: Sequence[TensorSpec], shapes: Shapes, *, loaded: Mapping[str, str], profile: str
) -> list[str]:
    """Return the options that time each layer, in a separate run, since that slows layers and CUDA graphs hide them."""
    arguments = [
        "--loadEngine=model.engine",
        *_inputs(inputs, shapes, loaded),
        "--warmUp=200",
        "--duration=1",
        "--iterations=10",
        "--dumpProfile",
        "--separateProfileRun",
        "--profilingVerbosity=detailed",
        f"--exportProfile={profile}",
    ]
    return [*arguments, "--noCudaGraph"] if release_of(release) >= (11,) else arguments


def output_arguments(
    release: str,
    inputs: Sequence[TensorSpec],
    shapes: Shapes,
    *,
    loaded: Mapping[str, str],
    outputs: str | None,
) -> list[str]:
    """Return the options that run an engine once on given inputs and store its outputs.

    Args:
        release: Release of TensorRT.
        inputs: Inputs of the engine.
        shapes: Shapes of the values that are fed, by the input's name.
        loaded: File with the values of each input, by its name.
        outputs: File that receives the outputs as text; None writes raw files (:mod:`compress.backends.trtexec_raw`).
    """
    arguments = [
        "--loadEngine=model.engine",
        *_inputs(inputs, shapes, loaded),
        "--warmUp=0",
        "--duration=0",
        "--iterations=1",
        "--dumpRawBindingsToFile" if outputs is None else f"--exportOutput={outputs}",
    ]
    return [*arguments, "--includeDataTransfers"] if release_of(release) >= (11,) else arguments


def _inputs(inputs: Sequence[TensorSpec], shapes: Shapes, loaded: Mapping[str, str]) -> list[str]:
    opened = {spec.name: shapes[spec.name] for spec in inputs if has_open_axis(spec)}
    shape_arguments = [f"--shapes={shapes_text(opened)}"] if opened else []
    # A name may hold a colon; trtexec takes it in quotes of its own.
    files = ",".join(
        f"'{name}':{file}" if ":" in name or "," in name else f"{name}:{file}"
        for name, file in loaded.items()
    )
    return [*shape_arguments, f"--loadInputs={files}"]
