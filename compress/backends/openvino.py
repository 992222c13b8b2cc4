"""OpenVINO's CPU runtime: the artifact is an ONNX file, compiled for each batch size on the machine that opens it.

The file is ONNX rather than OpenVINO's own two (``.xml`` and ``.bin``): one file of the same size that loads as fast,
which every other tool here reads too. Only a decoder of text is these two, since its keys and values are states, which
ONNX does not have (:mod:`compress.backends.openvino_stateful`). A network compiled for one shape took 0.72 to 0.85 of
the time it took compiled for any (batch 1, four small networks, an AMX processor), so a session compiles each batch
size that it meets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.backends.base import Artifact, Backend, Session
from compress.backends.feeds import check_feeds
from compress.backends.openvino_decoder import GRAPH
from compress.backends.session_options import SessionOptions
from compress.core.installation import install_command
from compress.core.options import option
from compress.core.tensor_spec import BATCH, TensorSpec
from compress.errors import BundleError, CompressError, DataError, NetworkError, UnavailableError

if TYPE_CHECKING:
    import onnx
    import openvino

    from compress.onnx_graph.executed import ExecutedLayer
    from compress.records.coverage import Coverage
    from compress.target.target import Target

#: Precisions of keys and values that a decoder keeps.
CACHES = ("float32", "float16", "int8")

#: What float operators compute in. Left alone, OpenVINO takes bf16 wherever the processor has it, without a word.
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


@dataclass(frozen=True, kw_only=True)
class OpenVinoOptions(SessionOptions):
    """Session options of OpenVINO."""

    precision: str = option("Precision that float operators compute in", "fp32", choices=tuple(_PRECISIONS))
    intra_op_threads: int = option(
        "Threads of one operator; 0 leaves the number to the runtime", 1, low=0, high=1024
    )
    cache: str = option(
        "Precision of the keys and values that a decoder of text keeps", CACHES[0], choices=CACHES
    )


#: Every session option that a recipe may set, with its default.
DEFAULTS = OpenVinoOptions().to_dict()

#: Sets of input shapes that are compiled for themselves; whatever comes after them shares one build for any shape.
_MOST_BUILDS = 8

#: Inputs up to this size are copied into the runtime's memory, which costs less than handing over the caller's.
_COPIED_BYTES = 1 << 18

Arrays = Sequence["np.ndarray[Any, Any]"]


class OpenVino(Backend):
    """OpenVINO on this machine's processor."""

    name: ClassVar[str] = "openvino"
    runtime: ClassVar[str] = "openvino"
    title: ClassVar[str] = "OpenVINO"
    beside_only: ClassVar[bool] = True
    decodes: ClassVar[bool] = True
    session_options: ClassVar[type[SessionOptions]] = OpenVinoOptions

    def how_to_install(self) -> str:
        """See :meth:`Backend.how_to_install`."""
        return install_command(self.name)

    def compile(self, model: onnx.ModelProto, directory: Path, options: Mapping[str, Any]) -> Artifact:
        """See :meth:`Backend.compile`; the folded graph is written as ``model.onnx`` and compiled once as a check.

        A decoder is written as :func:`compress.backends.openvino_stateful.compile_decoder` tells.
        """
        from compress.backends.first_opening import open_elsewhere
        from compress.backends.onnx_artifact import folded, write_artifact
        from compress.backends.openvino_decoder import is_decoder

        settings = OpenVinoOptions.read(options)
        _runtime()
        if is_decoder(model):
            from compress.backends.openvino_stateful import compile_decoder

            return compile_decoder(folded(model), directory, self.name, settings.to_dict())

        def check(artifact: Artifact) -> None:
            with suppress(BundleError):  # what is read below says it as of a network
                open_elsewhere(artifact)
            _compiled_at_one(_read(artifact.path, NetworkError), artifact.path, settings)

        return write_artifact(folded(model), directory, self.name, settings.to_dict(), check)

    def open(self, artifact: Artifact) -> Session:
        """See :meth:`Backend.open`."""
        _runtime()
        if artifact.path.name == GRAPH:
            from compress.backends.openvino_stateful import OpenVinoDecoderSession

            settings = OpenVinoOptions.read(artifact.options)
            return OpenVinoDecoderSession(artifact.path, settings.cache, properties(settings))
        return OpenVinoSession(artifact.path, artifact.options)

    def default_options(self, target: Target, threads: int | None = None) -> dict[str, Any]:
        """See :meth:`Backend.default_options`: one thread a core, floats in fp32."""
        return {**DEFAULTS, "intra_op_threads": threads or target.cores or DEFAULTS["intra_op_threads"]}

    def variants(
        self, options: Mapping[str, Any], target: Target, threads: int | None = None
    ) -> list[dict[str, Any]]:
        """See :meth:`Backend.variants`: one thread instead of all."""
        if threads is not None or options["intra_op_threads"] == 1:
            return []
        return [{**options, "intra_op_threads": 1}]

    def not_supported_reasons(self, model: onnx.ModelProto, target: Target) -> tuple[str, ...]:
        """See :meth:`Backend.not_supported_reasons`: operators of a decoder that there is no form of."""
        from compress.backends.openvino_decoder import is_decoder, without_form

        unknown = without_form(model) if is_decoder(model) else []
        return (f"a decoder's {', '.join(unknown)} has no form in OpenVINO",) if unknown else ()

    def coverage(self, artifact: Artifact) -> Coverage | None:
        """See :meth:`Backend.coverage`: of the graph compiled for batch 1; not of a decoder, whose axes are open."""
        if artifact.path.name == GRAPH:
            return None
        import onnx

        from compress.onnx_graph.executed import executed_coverage

        settings = OpenVinoOptions.read(artifact.options)
        compiled = _compiled_at_one(_read(artifact.path, BundleError), artifact.path, settings)
        executed = [_executed(node) for node in compiled.get_runtime_model().get_ops()]
        return executed_coverage(executed, onnx.load(artifact.path))


class OpenVinoSession(Session):
    """A network read once and compiled for each batch size, with checked feeds."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self._settings = OpenVinoOptions.read(options)
        self._model: openvino.Model | None = _read(path, BundleError)
        self.inputs, self.outputs = _specs(self._model, path)
        self._requests: dict[object, _Request] = {}
        self._any_shape: _Request | None = None

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """See :meth:`Session.run`; the first call with a new batch size compiles the network for it."""
        arrays = self._arrays(feeds)
        request = self._requests.get(_key(arrays)) or self._request(feeds, arrays)
        with _explained():
            return request.run(arrays)

    def close(self) -> None:
        """See :meth:`Session.close`."""
        self._model = self._any_shape = None
        self._requests = {}

    def _arrays(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
        if self._model is None:
            raise RuntimeError("the session is closed")
        try:
            arrays = [feeds[spec.name] for spec in self.inputs]
        except KeyError:
            check_feeds(self.inputs, feeds)
            raise
        if len(feeds) != len(arrays) or not all(isinstance(array, np.ndarray) for array in arrays):
            check_feeds(self.inputs, feeds)
            return [np.asarray(array) for array in arrays]
        return arrays

    def _request(self, feeds: Mapping[str, np.ndarray[Any, Any]], arrays: Arrays) -> _Request:
        """Return the request for a batch's shapes, made once for each combination."""
        check_feeds(self.inputs, feeds)
        if _shapes_at(self.inputs, 1) is None or len(self._requests) >= _MOST_BUILDS:
            if self._any_shape is None:
                self._any_shape = _Request(_compiled(self._model, self._settings, None))
            return self._any_shape
        shapes = [array.shape for array in arrays]
        request = _Request(_compiled(self._model, self._settings, shapes))
        self._requests[_key(arrays)] = request
        return request


class _Request:
    """One compiled network with the memory that it reads and writes."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        ports = [*compiled.inputs, *compiled.outputs]
        fixed = not any(port.partial_shape.is_dynamic for port in ports)
        self._read: Arrays | None = None
        self._written: Arrays | None = None
        self._held: Arrays = ()
        if fixed:
            self._written = self._outputs()
            inputs = [self._request.get_input_tensor(index) for index in range(len(compiled.inputs))]
            if all(tensor.byte_size <= _COPIED_BYTES for tensor in inputs):
                self._read = [tensor.data for tensor in inputs]

    def run(self, arrays: Arrays) -> list[np.ndarray[Any, Any]]:
        """Run the request and return copies of the outputs, since the next call overwrites them."""
        if self._read is not None:
            for memory, array in zip(self._read, arrays, strict=True):
                np.copyto(memory, array)
        else:
            self._held = [
                np.asarray(array, order="C") for array in arrays
            ]  # the runtime holds mere addresses
            for index, array in enumerate(self._held):
                self._request.set_input_tensor(index, _shared(array))
        self._request.infer(share_outputs=True)
        return [output.copy() for output in self._written or self._outputs()]

    def _outputs(self) -> Arrays:
        return [self._request.get_output_tensor(index).data for index in range(len(self._compiled.outputs))]


@cache
def _runtime() -> openvino.Core:
    try:
        import openvino
    except ImportError as error:
        raise UnavailableError(
            "OpenVINO", f"no such package ({error})", install_command("openvino")
        ) from error
    return openvino.Core()


def properties(settings: OpenVinoOptions) -> dict[str, Any]:
    """Return OpenVINO's properties for session options.

    One stream of requests: what is measured is one call at a time. Threads are not bound to cores unless a comparison
    asks for it, because one that shares its core with a busy program stays slow: on a loaded two-core machine a small
    network took 9.7 times as long as in ONNX Runtime with binding, and 1.2 times without.
    """
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": bool(settings.affinity),
        "INFERENCE_NUM_THREADS": settings.intra_op_threads,
        "INFERENCE_PRECISION_HINT": _PRECISIONS[settings.precision],
    }


def _read(path: Path, wrong: type[CompressError]) -> openvino.Model:
    """Read the graph in OpenVINO's own form; ``wrong`` is raised where that fails."""
    core = _runtime()
    try:
        return core.read_model(str(path))
    except RuntimeError as error:
        todo = "build it again" if wrong is BundleError else "replace or register the operator it names"
        raise wrong("a graph OpenVINO can read", f"{path.name}: {_essence(error)}", todo) from error


def _compiled(
    model: openvino.Model, settings: OpenVinoOptions, shapes: Sequence[Sequence[int]] | None
) -> openvino.CompiledModel:
    """Compile the network for one shape of each input; None compiles it for any shape."""
    try:
        if shapes is not None:
            model = model.clone()
            model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
        return _runtime().compile_model(model, "CPU", properties(settings))
    except RuntimeError as error:
        raise NetworkError(
            "a graph OpenVINO can run",
            _essence(error),
            "replace the operator it names, or choose another back end",
        ) from error


def _compiled_at_one(model: openvino.Model, path: Path, settings: OpenVinoOptions) -> openvino.CompiledModel:
    """Compile the network for batch 1, or for any shape where more than the batch is open."""
    return _compiled(model, settings, _shapes_at(_specs(model, path)[0], 1))


def _shapes_at(inputs: Sequence[TensorSpec], batch: int) -> list[tuple[int, ...]] | None:
    """Return the shapes at a batch size; None where another axis is open too."""
    shapes = [spec.with_batch(batch) for spec in inputs]
    if not all(isinstance(size, int) for shape in shapes for size in shape):
        return None
    return [tuple(int(size) for size in shape) for shape in shapes]


def _key(arrays: Arrays) -> tuple[object, ...]:
    return tuple((array.shape, array.dtype) for array in arrays)


def _shared(array: np.ndarray[Any, Any]) -> openvino.Tensor:
    """Return a tensor over the caller's own memory."""
    import openvino

    return openvino.Tensor(array, shared_memory=True)


def _executed(node: openvino.Node) -> ExecutedLayer:
    from compress.onnx_graph.executed import ExecutedLayer

    runtime_info = {key: str(value.astype(str)) for key, value in node.get_rt_info().items()}
    precision = runtime_info["runtimePrecision"]
    # Of operators compiled into one kernel only the outer precision is told, but int8 weights show what is inside.
    if runtime_info["layerType"] == "Subgraph" and any(
        str(value.get_node().get_rt_info()["runtimePrecision"].astype(str)) == "i8"
        for value in node.input_values()
    ):
        precision = "i8"
    return ExecutedLayer(
        runtime_info["layerType"], precision, tuple(runtime_info["originalLayersNames"].split(","))
    )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise DataError("a batch the network can run", _essence(error), "check the data's shapes") from error


def _specs(model: openvino.Model, path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return a model's inputs and outputs; only the ONNX file names the axis that counts samples."""
    inputs, outputs = ([_spec(port) for port in ports] for ports in (model.inputs, model.outputs))
    opened = {
        axis
        for spec in (*inputs, *outputs)
        for axis, size in enumerate(spec.shape)
        if not isinstance(size, int)
    }
    if opened <= {0}:
        return tuple(inputs), tuple(outputs)
    import onnx

    from compress.network.formats.onnx_file import read_specs

    declared = read_specs(onnx.load(path, load_external_data=False))
    axes = {spec.name: spec.shape for spec in (*declared[0], *declared[1])}
    return (
        tuple(_named(spec, axes.get(spec.name, spec.shape)) for spec in inputs),
        tuple(_named(spec, axes.get(spec.name, spec.shape)) for spec in outputs),
    )


def _named(spec: TensorSpec, declared: Sequence[int | str]) -> TensorSpec:
    """Return a spec with the file's names for its open axes."""
    if len(declared) != len(spec.shape):
        return spec
    shape = [
        size if isinstance(size, int) else name if isinstance(name, str) else f"{spec.name}_{axis}"
        for axis, (size, name) in enumerate(zip(spec.shape, declared, strict=True))
    ]
    return TensorSpec(spec.name, spec.dtype, tuple(shape))


def _spec(port: Any) -> TensorSpec:
    # A port may carry names of several tensors that were merged; its node is called after the one in the ONNX file.
    node_name = port.node.friendly_name.removesuffix("/sink_port_0")
    name = node_name if node_name in port.names else port.any_name
    shape = tuple(
        (BATCH if axis == 0 else f"{name}_{axis}") if size.is_dynamic else size.get_length()
        for axis, size in enumerate(port.partial_shape)
    )
    return TensorSpec(name, port.element_type.to_dtype().name, shape)


def _essence(error: Exception) -> str:
    """Return the runtime's message without locations in its source."""
    lines = (line.strip() for line in str(error).splitlines())
    reasons = [
        line for line in lines if line and not line.startswith(("Exception from", "Check ", "FrontEnd API"))
    ]
    return " ".join(reasons)[:400] or str(error).strip()[:400]
