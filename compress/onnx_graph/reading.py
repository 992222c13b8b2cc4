"""Reading of untrusted ONNX files: each tensor is checked against its bytes before anything else.

onnx's own shape inference and ONNX Runtime believe a tensor's sizes; where the values are fewer, they read what is not
theirs, or go on for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx.external_data_helper
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from compress.core.child_process import lacks_memory
from compress.errors import NetworkError
from compress.onnx_graph.axes import open_negative_axes
from compress.onnx_graph.crashes import crashing_optimizations
from compress.onnx_graph.graph import Graph, graphs, tensors_read
from compress.onnx_graph.weights import (
    copied,
    exceeds_message,
    in_files,
    is_copied,
    is_outside,
    size_of_values,
)

#: The field of values that are not raw, for each type.
_FIELDS = {
    TensorProto.FLOAT: "float_data",
    TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}
_OTHERS = "int32_data"
_PARTS = {TensorProto.COMPLEX64: 2, TensorProto.COMPLEX128: 2}
#: Bits of a value of the types whose bytes NumPy does not tell, since several share one.
_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}.items()
    if hasattr(TensorProto, name)
}
#: Far beyond every operator set's.
_LATEST_OPSET = 1000
#: Bytes that a sparse tensor may come to when it is written densely: so many, and so many for each of its values.
_DENSE, _DENSE_OF_VALUE = 64 << 20, 1 << 10


def read_model(path: Path, *, external_data: bool = True) -> onnx.ModelProto:
    """Read the model in a file and check that tensors have all their values; axes of a negative size are open.

    Args:
        path: The file.
        external_data: Whether to read the weights that lie beside it.

    Raises:
        NetworkError: The file cannot be parsed, or a tensor has more or fewer values than its sizes say.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        _check_header(model, path)
        for imports in (model.opset_import, *(function.opset_import for function in model.functions)):
            _declare_once(imports, path)
        _check_texts(model, path)
        _check_tensors(model, path)
        if external_data and exceeds_message(model.ByteSize() + _bytes_beside(model)):
            _read_in_nodes(model, path)
            model = in_files(_each_read(model, path), model)
            _check_message(model, path)
        elif external_data:
            onnx.load_external_data_for_model(model, str(path.parent))
            _check_tensors(model, path)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise NetworkError("a readable ONNX file", f"{path}: {reason}", "export it again") from error
    return open_negative_axes(model)


def check_looked_at(path: Path) -> None:
    """Try the later examination of a file's graph, to find out whether it ends.

    Faults of the graph are not reported here, but by the later examination.

    Raises:
        NetworkError: The file cannot be read.
        MemoryError: There is not enough memory for it.
    """
    from compress.onnx_graph.shapes import with_types

    model = read_model(path)
    with _whatever():
        onnx.checker.check_model(str(path), full_check=True)
    with _whatever():
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        onnx.shape_inference.infer_shapes(with_types(model), strict_mode=True, data_prop=True)
    with _whatever():
        open_here(path, optimized=True)
    with _whatever():
        _compute_constants(model)


def open_here(path: Path, *, optimized: bool) -> None:
    """Open a file in ONNX Runtime, on one thread.

    Args:
        path: The file.
        optimized: Whether to let the runtime fold and fuse.

    Raises:
        MemoryError: There is not enough memory for the folded constants.
        Exception: Whatever else ONNX Runtime raises; its own classes have no common root but this.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with _hunger():
        onnxruntime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=crashing_optimizations(path),
        )


def _compute_constants(model: onnx.ModelProto) -> None:
    """Compute all values that depend on no input, as folding, or every run of a runtime, will do."""
    from compress.onnx_graph.sessions import open_session, part

    graph = Graph(model)
    constant_names, computed_names = set(graph.initializers), dict[str, None]()
    for node in graph.nodes:
        if all(name in constant_names for name in tensors_read(node)):
            constant_names.update(name for name in node.output if name)
            computed_names.update((name, None) for name in node.output if name)
            for name in tensors_read(node):  # what is made of it is computed, and so is it
                computed_names.pop(name, None)
    if computed_names:
        with _hunger():
            open_session(part(graph, list(computed_names)), optimized=False).run(list(computed_names), {})


@contextmanager
def _hunger() -> Iterator[None]:
    """Turn ONNX Runtime's message about too little memory into a MemoryError."""
    try:
        yield
    except Exception as error:
        if lacks_memory(error):
            raise MemoryError from error
        raise


def essence(error: BaseException) -> str:
    """Return the first line of a message of onnx or its runtime."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return first.rpartition("[ONNXRuntimeError] : ")[2]


@contextmanager
def _whatever() -> Iterator[None]:
    """Ignore errors of native code about a graph, but not too little memory."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - onnx and its runtime raise dozens of types, whose words come again
        return


def _check_header(model: onnx.ModelProto, path: Path) -> None:
    """Refuse operator sets of no release and types of no name, which the enums of a protocol buffer may hold."""
    for entry in model.opset_import:
        if not 1 <= entry.version <= _LATEST_OPSET:
            problem = f"version {entry.version} of '{entry.domain[:80] or 'ai.onnx'}' in {path}"
            raise NetworkError("an operator set of a release", problem, "export it again")
    for value in _values(model.graph):
        kind = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
        if kind not in TensorProto.DataType.values():
            problem = f"type {kind} of '{value.name[:80]}' in {path}"
            raise NetworkError("tensors of a known type", problem, "export it again")


def _declare_once(imports: MutableSequence[onnx.OperatorSetIdProto], path: Path) -> None:
    """Leave one declaration of each operator set; refuse a set in two versions.

    The standard set has two names, and a file may name it twice. Whoever raises the version of one of the two leaves
    runtimes with the other.
    """
    versions: dict[str, int] = {}
    for place in reversed(range(len(imports))):  # from the end, since some are removed
        version = imports[place].version
        domain = "" if imports[place].domain == "ai.onnx" else imports[place].domain
        if domain not in versions:
            versions[domain] = version
        elif versions[domain] == version:
            del imports[place]
        else:
            problem = f"{version} and {versions[domain]} of '{domain[:80] or 'ai.onnx'}' in {path}"
            raise NetworkError("one version of each operator set", problem, "export it again")


def _check_texts(model: onnx.ModelProto, path: Path) -> None:
    """Refuse names that are not UTF-8, which protocol buffers hand out as bytes."""
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise NetworkError("names in UTF-8", f"others in {path}", "export it again")


def _texts(model: onnx.ModelProto) -> Iterator[str | bytes]:
    yield from (model.producer_name, model.producer_version, model.domain, model.graph.name)
    yield from (text for entry in model.metadata_props for text in (entry.key, entry.value))
    yield from (entry.domain for entry in model.opset_import)
    for graph in graphs(model.graph):
        yield from _texts_of(graph.node)
        yield from (tensor.name for tensor in graph.initializer)
        yield from (sparse.values.name for sparse in graph.sparse_initializer)
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            if value.type.HasField("tensor_type"):
                yield from (size.dim_param for size in value.type.tensor_type.shape.dim)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
        yield from (entry.domain for entry in function.opset_import)
        yield from _texts_of(function.node)


def _texts_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[str | bytes]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (text for entry in node.attribute for text in (entry.name, entry.ref_attr_name))


def _values(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    for inner in graphs(graph):
        yield from (*inner.input, *inner.output, *inner.value_info)


def _check_tensors(model: onnx.ModelProto, path: Path) -> None:
    for holder in _holders(model):
        sparse = isinstance(holder, onnx.SparseTensorProto)
        tensor = holder.values if sparse else holder
        problem = _problem_of_sparse(holder) if sparse else _problem(holder)
        if problem is not None:
            raise _wrong(tensor, path, problem)


def _bytes_beside(model: onnx.ModelProto) -> int:
    """Return the size of the initializers that lie in files of their own, in bytes."""
    beside = (tensor for tensor in model.graph.initializer if is_outside(tensor))
    return sum(-(-math.prod(tensor.dims) * _bits(tensor.data_type) // 8) for tensor in beside)


def _read_in_nodes(model: onnx.ModelProto, path: Path) -> None:
    """Read the constants of nodes that lie in files of their own."""
    for tensor in _of_nodes(model.graph.node):
        if isinstance(tensor, TensorProto) and is_outside(tensor):
            _read_values(tensor, path)


def _read_values(tensor: TensorProto, path: Path) -> None:
    onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _check_message(model: onnx.ModelProto, path: Path) -> None:
    """Refuse what is too large without its weights in files: types that numpy does not know stay inside."""
    if exceeds_message(model.ByteSize()):
        wanted = "a network whose weights over 2 GiB are of types that numpy knows"
        raise NetworkError(wanted, f"{path}", "convert it to float32 or float16")


def _bits(kind: int) -> int:
    return _BITS.get(kind) or 8 * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _each_read(model: onnx.ModelProto, path: Path) -> Iterator[TensorProto]:
    """Yield each initializer, the large ones in lasting files; of the others one at a time is in memory."""
    for tensor in model.graph.initializer:
        if is_outside(tensor) and is_copied(tensor):
            yield _copied(tensor, path)
            continue
        full_tensor = TensorProto()
        full_tensor.CopyFrom(tensor)
        if is_outside(tensor):
            _read_values(full_tensor, path)
        problem = _problem(full_tensor)
        if problem is not None:
            raise _wrong(full_tensor, path, problem)
        yield full_tensor


def _copied(tensor: TensorProto, path: Path) -> TensorProto:
    entries = onnx.external_data_helper.ExternalDataInfo(tensor)
    source = (path.parent / entries.location).resolve()
    if not source.is_file() or path.parent.resolve() not in source.parents:
        raise ValueError(
            f"the weights of '{tensor.name[:80]}' in no file beside it: '{entries.location[:80]}'"
        )
    size = size_of_values(tensor)
    if entries.length is not None and entries.length != size:
        raise _wrong(tensor, path, f"with {entries.length} bytes of {size}")
    return copied(tensor, source, entries.offset or 0)


def _wrong(tensor: TensorProto, path: Path, problem: str) -> NetworkError:
    name = f"'{tensor.name[:80]}'" if tensor.name else "a constant"
    return NetworkError(
        "tensors with the values that they announce", f"{name} of {path}, {problem}", "export it again"
    )


def _problem_of_sparse(sparse: onnx.SparseTensorProto) -> str | None:
    """Return what is wrong with a sparse tensor; None where nothing is."""
    for part in (sparse.values, sparse.indices):
        if (problem := _problem(part)) is not None:
            return problem
    count, sizes, places = math.prod(sparse.values.dims), list(sparse.dims), list(sparse.indices.dims)
    if (
        any(size < 0 for size in sizes)
        or len(sparse.values.dims) != 1
        or sparse.values.data_type == TensorProto.STRING
    ):
        return f"a sparse tensor of the sizes {sizes[:8]}"
    if sparse.indices.data_type != TensorProto.INT64 or places not in ([count], [count, len(sizes)]):
        return f"a sparse tensor of {count} values with indices of {places[:8]}"
    width = onnx.helper.tensor_dtype_to_np_dtype(sparse.values.data_type).itemsize
    if math.prod(sizes) * width > _DENSE + _DENSE_OF_VALUE * count:
        return f"a sparse tensor of {count} values in {sizes[:8]}"
    positions = onnx.numpy_helper.to_array(sparse.indices)
    within = sizes if positions.ndim == 2 else [math.prod(sizes)]
    if positions.size and ((positions < 0).any() or (positions >= within).any()):
        return "a sparse tensor with indices outside of it"
    return None


def _problem(tensor: TensorProto) -> str | None:
    """Return what is wrong with a tensor's type, sizes and values; None where nothing is."""
    kind = tensor.data_type
    if kind == TensorProto.UNDEFINED or kind not in TensorProto.DataType.values():
        return f"of the unknown type {kind}"
    if any(size < 0 for size in tensor.dims):
        return f"of the sizes {list(tensor.dims)[:8]}"
    count = math.prod(tensor.dims)
    bits = _BITS.get(kind)
    if tensor.data_location == TensorProto.EXTERNAL:
        if not any(entry.key == "location" and entry.value for entry in tensor.external_data):
            return "whose values lie in a file without a name"
        return None
    if tensor.HasField("raw_data"):
        width = 8 * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize if bits is None else bits
        bytes_needed, bytes_held = -(-count * width // 8), len(tensor.raw_data)
        if kind == TensorProto.STRING:
            return "texts as raw bytes"
        return None if bytes_held == bytes_needed else f"with {bytes_held} bytes of {bytes_needed}"
    values = len(getattr(tensor, _FIELDS.get(kind, _OTHERS)))
    values_needed = count * _PARTS.get(kind, 1) if bits is None else -(-count * bits // 8)
    return None if values == values_needed else f"with {values} values of {values_needed}"


def _holders(model: onnx.ModelProto) -> Iterator[TensorProto | onnx.SparseTensorProto]:
    """Yield every tensor with values, in any part of the model."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto | onnx.SparseTensorProto]:
    yield from graph.initializer
    yield from graph.sparse_initializer
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto | onnx.SparseTensorProto]:
    for attribute in (entry for node in nodes for entry in node.attribute):
        for name in ("t", "sparse_tensor"):
            if attribute.HasField(name):
                yield getattr(attribute, name)
        yield from attribute.tensors
        yield from attribute.sparse_tensors
        if attribute.HasField("g"):
            yield from _of_graph(attribute.g)
        for graph in attribute.graphs:
            yield from _of_graph(graph)
