"""ONNX Runtime: the artifact is an ONNX file, optimized again by the runtime on the machine that opens it.

The file that is shipped is the portable ONNX graph and not the runtime's own optimized one, which holds layouts of
one instruction set: https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.backends import load_backend
from compress.backends.base import Artifact, Backend, OperatorTimes, Session
from compress.backends.bound_calls import BoundCalls
from compress.backends.bound_step import bound_step, is_step
from compress.backends.feeds import check_feeds
from compress.backends.first_opening import open_elsewhere
from compress.backends.gpu_sessions import gpu_variants, provider_options, shapes_of_target
from compress.backends.narrowed import narrowed
from compress.backends.providers import (
    CPU,
    TENSORRT,
    XNNPACK,
    check_taken,
    on_nvidia_gpu,
    requested,
    tells_its_graph,
)
from compress.backends.session_options import SessionOptions
from compress.backends.whole_answer import parts_of_answer, whole_answer
from compress.core.decoder_texts import CONTEXT_KEY, MADE_OF_KEY, PARTS_KEY
from compress.core.options import option
from compress.core.tensor_spec import TensorSpec, named_axes
from compress.errors import BundleError, CompressError, DataError, NetworkError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

    from compress.records.coverage import Coverage
    from compress.target.target import Target


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeOptions(SessionOptions):
    """Session options of ONNX Runtime, with the runtime's own defaults.

    Attributes:
        batch_sizes: Numbers of samples that the target names, for a GPU; the target says it, never a recipe.
        input_shapes: Shapes of inputs with open axes that it names, by name, for a GPU; None where it names none.
    """

    provider: str = option("Execution provider that runs the graph", CPU)
    intra_op_threads: int = option(
        "Threads of one operator; 0 leaves the number to the runtime", 0, low=0, high=1024
    )
    spinning: bool = option("Whether threads spin while they wait", True)
    arena: bool = option("Whether memory comes from the runtime's arena, which keeps what it once had", True)
    qdq_fusion: bool = option("Whether Q/DQ pairs are fused into int8 kernels", True)
    io_binding: bool = option(
        "Whether inputs and outputs lie in memory of the GPU that is kept from call to call", False
    )
    cuda_graph: bool = option(
        "Whether calls on a GPU are recorded as a CUDA graph and replayed, with memory that is kept", False
    )
    shape_profile: bool = option(
        "Whether TensorRT's provider builds one engine for all shapes that the target names, and not one for those "
        "that it has met",
        False,
    )
    batch_sizes: Sequence[int] = ()
    input_shapes: Mapping[str, Any] | None = None


#: Every session option that a recipe may set, with its default.
DEFAULTS = OnnxRuntimeOptions().to_dict()

#: Optimizations that are off where the fusion of Q/DQ is: a graph is then run as another runtime gets it.
#: They drop a Relu or a Clip before Q/DQ whose zero point says the same, and stop at float8's.
REWRITES = ("ReluQuantRewrite", "ClipQuantRewrite")

#: Calls that are traced at the least and at the most; the profiler drops events beyond a million.
_LEAST_TRACED, _MOST_TRACED = 10, 200

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}


class OnnxRuntime(Backend):
    """ONNX Runtime on the target's execution provider."""

    name: ClassVar[str] = "onnxruntime"
    runtime: ClassVar[str] = "onnxruntime"
    title: ClassVar[str] = "ONNX Runtime"
    contrib_operators: ClassVar[bool] = True
    session_options: ClassVar[type[SessionOptions]] = OnnxRuntimeOptions

    def contradictions(self, target: Target) -> Iterator[tuple[str, str, str]]:
        """See :meth:`Backend.contradictions`."""
        if target.provider is None:
            yield "provider, ONNX Runtime's execution provider", "no such key", "provider"

    def compile(self, model: onnx.ModelProto, directory: Path, options: Mapping[str, Any]) -> Artifact:
        """See :meth:`Backend.compile`; the folded graph is written as ``model.onnx`` and opened once as a check."""
        from compress.backends.onnx_artifact import folded, write_artifact

        graph = folded(model)
        settings = {**DEFAULTS, **options, **_needed(graph)}
        return write_artifact(graph, directory, self.name, settings, open_elsewhere)

    def open(self, artifact: Artifact) -> Session:
        """See :meth:`Backend.open`."""
        return OnnxRuntimeSession(artifact.path, artifact.options)

    def default_options(self, target: Target, threads: int | None = None) -> dict[str, Any]:
        """See :meth:`Backend.default_options`: as a session is that is opened without any."""
        return {
            **DEFAULTS,
            "provider": target.provider or DEFAULTS["provider"],
            "intra_op_threads": threads or DEFAULTS["intra_op_threads"],
            # What builds engines gets the graph as it is written; this runtime then tells its accuracy alone.
            "qdq_fusion": not load_backend(target.backend).builds_engines,
            **shapes_of_target(target),
        }

    def variants(
        self, options: Mapping[str, Any], target: Target, threads: int | None = None
    ) -> list[dict[str, Any]]:
        """See :meth:`Backend.variants`: threads that sleep while they wait, and one thread instead of all.

        Threads that spin steal a core from whatever runs next to them: on a loaded two-core machine a vision
        transformer took 26 ms without and 62 ms with them. On a GPU memory that is kept, recordings, and one engine for
        all shapes.
        """
        if on_nvidia_gpu(options.get("provider", DEFAULTS["provider"])):
            return gpu_variants(options, target)
        cores = target.cores or 1
        if threads == 1 or cores == 1:
            return []
        sleeping = {**options, "spinning": False, "intra_op_threads": threads or cores}
        return [sleeping] if threads is not None else [sleeping, {**options, "intra_op_threads": 1}]

    def coverage(self, artifact: Artifact) -> Coverage | None:
        """See :meth:`Backend.coverage`; a provider that compiles subgraphs does not tell."""
        from compress.onnx_graph.coverage import fusion_coverage

        if not tells_its_graph(OnnxRuntimeOptions.read(artifact.options).provider):
            return None
        return fusion_coverage(optimized_graph(artifact))

    def operator_times(
        self, artifact: Artifact, feeds: Mapping[str, np.ndarray[Any, Any]], seconds: float
    ) -> OperatorTimes | None:
        """See :meth:`Backend.operator_times`; on a processor alone: others return before their kernels are done."""
        from compress.backends.onnxruntime_trace import operator_times

        if OnnxRuntimeOptions.read(artifact.options).provider != CPU:
            return None
        with tempfile.TemporaryDirectory(prefix="compress-") as directory:
            graph, trace = Path(directory) / "optimized.onnx", Path(directory) / "trace"
            session = _open(artifact.path, artifact.options, optimized=graph, trace=trace)
            feeds = _taken(session, feeds)
            end = time.perf_counter() + seconds
            for count in range(_MOST_TRACED):
                if count >= _LEAST_TRACED and time.perf_counter() > end:
                    break
                session.run(None, dict(feeds))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            return operator_times(events, _as_optimized(graph, artifact.path).graph)


class OnnxRuntimeSession(Session):
    """One ``onnxruntime.InferenceSession`` with checked feeds."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self._session: onnxruntime.InferenceSession | None = _open(path, options)
        self.inputs = tuple(_spec(value) for value in self._session.get_inputs())
        self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self._bound = self._bound_calls(OnnxRuntimeOptions.read(options))
        # A provider beside the processor has memory of its own.
        self._decodes = CONTEXT_KEY in self.metadata and self._session.get_providers() == [CPU]
        self._step: tuple[object, Callable[[], object]] | None = None

    def taken(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Mapping[str, np.ndarray[Any, Any]]:
        """See :meth:`Session.taken`."""
        return _taken(self.native, feeds) if MADE_OF_KEY in self.metadata else feeds

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """See :meth:`Session.run`."""
        if self._session is None:
            raise RuntimeError("the session is closed")
        feeds = self.taken(feeds)
        try:
            if self._bound is not None:
                return self._bound.run(feeds)
            outputs: list[np.ndarray[Any, Any]] = self._session.run(self._names, dict(feeds))
        except CompressError:
            raise
        except Exception as error:
            # The runtime's own check costs nothing per call; ours is made only to explain what it refused.
            check_feeds(self.inputs, feeds)
            raise DataError(
                "a batch the network can run", _essence(error), "check the data's shapes"
            ) from error
        return outputs

    @property
    def native(self) -> onnxruntime.InferenceSession:
        """The runtime's own session, for callers that bind memory themselves."""
        if self._session is None:
            raise RuntimeError("the session is closed")
        return self._session

    def prepared(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Callable[[], object]:
        """See :meth:`Session.prepared`: the runtime's own ``run``, once the feeds are known to fit."""
        self.run(feeds)
        if self._session is None:
            raise RuntimeError("the session is closed")
        if PARTS_KEY in self.metadata:
            return whole_answer(self._session.run, self.inputs, self.outputs, feeds)
        feeds = self.taken(feeds)
        if self._bound is not None:
            return partial(self._bound.run, feeds)
        if self._decodes and is_step(self.inputs, feeds):
            return bound_step(self._session, feeds)
        return partial(self._session.run, self._names, dict(feeds))

    def part_calls(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Mapping[str, Callable[[], object]]:
        """See :meth:`Session.part_calls`: encoder, and one step behind the others, of an encoder–decoder."""
        if PARTS_KEY not in self.metadata:
            return {}
        return parts_of_answer(self.native.run, self.inputs, self.outputs, feeds)

    def timed_call(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """See :meth:`Session.timed_call`."""
        if PARTS_KEY in self.metadata:
            whole_answer(self.native.run, self.inputs, self.outputs, feeds)()
        elif self._decodes:  # of the same feeds a step is made ready once
            if self._step is None or self._step[0] is not feeds:
                self._step = (feeds, self.prepared(feeds))
            self._step[1]()
        else:
            self.run(feeds)

    def close(self) -> None:
        """See :meth:`Session.close`."""
        if self._bound is not None:
            self._bound.close()
        self._session = self._bound = self._step = None

    def _bound_calls(self, settings: OnnxRuntimeOptions) -> BoundCalls | None:
        """Return how calls are made with memory that is kept; None where the options do not ask for it."""
        if not (settings.io_binding or settings.cuda_graph):
            return None
        if PARTS_KEY in self.metadata:
            raise NetworkError(
                "a network that answers in one call, to keep its memory on the GPU",
                "an encoder and a decoder, which is called for each word",
                "set io_binding and cuda_graph to false in the recipe's [session]",
            )
        return BoundCalls(
            self.native,
            self.inputs,
            self.outputs,
            graph=settings.cuda_graph,
            one_shape=settings.cuda_graph and settings.provider == TENSORRT,
        )


def _taken(
    session: onnxruntime.InferenceSession, feeds: Mapping[str, np.ndarray[Any, Any]]
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Return the part of a call that a decoder takes of which parts were removed; other graphs take all."""
    if MADE_OF_KEY not in session.get_modelmeta().custom_metadata_map:
        return feeds
    vocabulary = int(session.get_outputs()[0].shape[-1])
    return narrowed([_spec(value) for value in session.get_inputs()], vocabulary, feeds)


def _needed(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the options without which a graph fails or computes wrong results.

    Fused as int8's are, Q/DQ of float8 make kernels that do not exist, and a Relu before them is dropped though float8
    has negative numbers (ONNX Runtime 1.31).
    """
    import onnx

    float8 = any(tensor.data_type == onnx.TensorProto.FLOAT8E4M3FN for tensor in model.graph.initializer)
    return {"qdq_fusion": False} if float8 else {}


def optimized_graph(artifact: Artifact) -> onnx.ModelProto:
    """Return the graph that the runtime really executes, after all its fusions on this machine."""
    with tempfile.TemporaryDirectory(prefix="compress-") as directory:
        path = Path(directory) / "optimized.onnx"
        _open(artifact.path, artifact.options, optimized=path)
        return _as_optimized(path, artifact.path)


def _as_optimized(path: Path, original: Path) -> onnx.ModelProto:
    """Read a graph that the runtime wrote; weights that it left in files are those of the original."""
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    model = onnx.load(path, load_external_data=False)
    load_external_data_for_model(model, str(original.parent))
    return model


def _open(
    path: Path, options: Mapping[str, Any], optimized: Path | None = None, trace: Path | None = None
) -> onnxruntime.InferenceSession:
    """Open a session that writes its optimized graph to ``optimized`` and its trace to a file named after ``trace``."""
    import onnxruntime

    from compress.backends.engine_cache import engine_cache_options
    from compress.onnx_graph.crashes import crashing_optimizations
    from compress.onnx_graph.precision import precision_of

    settings = OnnxRuntimeOptions.read(options)
    provider, threads = settings.provider, settings.intra_op_threads
    providers = requested(provider, threads, precision_of(path) if provider == TENSORRT else "fp32")
    if on_nvidia_gpu(provider) or settings.io_binding or settings.cuda_graph or settings.shape_profile:
        providers[0][1].update(provider_options(settings, _declared_inputs(path)))
    if provider == TENSORRT:
        providers[0][1].update(engine_cache_options(path, providers[0][1]))
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 4
    session_options.intra_op_num_threads = 1 if provider == XNNPACK else threads
    session_options.inter_op_num_threads = 1
    session_options.enable_cpu_mem_arena = settings.arena
    if not settings.qdq_fusion:
        session_options.add_session_config_entry("session.disable_quant_qdq", "1")
    session_options.add_session_config_entry("session.intra_op.allow_spinning", str(int(settings.spinning)))
    # Numbered from 1; the calling thread is not the session's to bind.
    if settings.affinity and provider != XNNPACK:
        bound = ";".join(str(processor + 1) for processor in settings.affinity)
        session_options.add_session_config_entry("session.intra_op_thread_affinities", bound)
    if optimized is not None:
        session_options.optimized_model_filepath = str(optimized)
    if trace is not None:
        session_options.enable_profiling = True
        session_options.profile_file_prefix = str(trace)
    with _explained(path):
        session = onnxruntime.InferenceSession(
            str(path),
            session_options,
            providers=providers,
            disabled_optimizers=[*(() if settings.qdq_fusion else REWRITES), *crashing_optimizations(path)],
        )
    check_taken(provider, session.get_providers())
    return session


def _declared_inputs(path: Path) -> tuple[TensorSpec, ...]:
    """Return the inputs that a file declares, before a session has opened it."""
    import onnx

    from compress.onnx_graph.shapes import input_specs

    return input_specs(onnx.load(path, load_external_data=False))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    try:
        yield
    except (states.InvalidProtobuf, states.InvalidGraph, states.NoSuchFile) as error:
        raise BundleError("an ONNX file", f"{path}: {_essence(error)}", "build it again") from error
    except (states.NotImplemented, states.Fail, states.InvalidArgument, states.RuntimeException) as error:
        raise NetworkError(
            "a graph ONNX Runtime can run",
            f"{path.name}: {_essence(error)}",
            "replace or register the operator it names",
        ) from error


def _spec(value: Any) -> TensorSpec:
    shape = (size if isinstance(size, int) and size >= 0 else str(size) for size in value.shape)
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), named_axes(shape))


def _essence(error: Exception) -> str:
    """Return the runtime's message without its source location and status prefix."""
    text = str(error).split("Status Message:")[-1]
    return text.split(" : ", maxsplit=3)[-1].strip()[:400]
