"""Export of the lifted graph to an ONNX model that computes the same.

Recurrent layers go through the same exporter as the rest: torch 2.13 turns ``aten.gru`` and ``aten.lstm`` into ONNX's
GRU and LSTM, with a dynamic batch, so no older exporter is needed; what it lacks is in
:mod:`compress.network.recurrent_export`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

import numpy as np
import onnx
import onnxruntime
import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.nn.utils import parametrize

from compress.core.tensor_spec import BATCH, TIME, TensorSpec
from compress.errors import CompressError, InternalError, NetworkError
from compress.network.equivalence import computes_in_half, noise_like, rows_of
from compress.network.exporter_operators import read_once
from compress.network.lifting.calls import place
from compress.network.tracing import essence, quiet
from compress.onnx_graph.axes import open_length
from compress.onnx_graph.legality import check_legal
from compress.onnx_graph.sessions import open_session

#: The newest operator set that every runtime in question reads.
OPSET = 20

#: Sequences of this length, or of the next that no weight has, show in a model where it was written for one length.
_UNUSUAL_LENGTH = 53

_TOLERANCE = 1e-4  # of the largest output: ONNX Runtime fuses and reorders sums
_HALF_TOLERANCE = 2e-2
# How many times the error of the network's own float32 against float64 a model's may be, and its largest share.
_TIMES_FLOAT32, _MOST_ROUNDING = 2.0, 1e-2
_MOST_BYTES = 2**31 - 2**20  # a protobuf file's limit, less some for the graph


def export_onnx(
    graph: fx.GraphModule,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sample: Sequence[np.ndarray],
    *,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Export a lifted graph in inference mode.

    Args:
        graph: Lifted graph, or a technique's continuation of it. Its mode is not changed.
        inputs: Names and shapes of the inputs; axes are dynamic where theirs are.
        outputs: Names of the outputs, in order.
        sample: One small batch of every input.
        opset: Version of the ONNX operator set.

    Raises:
        NetworkError: An operator has no ONNX form, or the weights do not fit into one file.
        InternalError: The ONNX model does not compute what the graph computes.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*graph.parameters(), *graph.buffers()))
    if size > _MOST_BYTES:
        raise NetworkError("at most 2 GB of weights", f"{size / 1e9:.1f} GB", "compress a smaller network")
    from compress.network.recurrent_export import without_projections

    graph = without_projections(_without_parametrizations(graph))
    with in_eval_mode(graph), _without_gradients(graph):
        if any(TIME in spec.shape for spec in inputs):
            return _export_of_one_length(graph, inputs, outputs, sample, opset)
        model = _export(graph, inputs, outputs, sample, opset)
        _check(model, graph, inputs, outputs, sample)
    return model


def _export_of_one_length(
    graph: fx.GraphModule,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sample: Sequence[np.ndarray],
    opset: int,
) -> onnx.ModelProto:
    """Export for one length, as torch.export requires for recurrent layers, then open it for all lengths.

    Where that does not come out right, the model keeps the sample's length.
    """
    sizes_held = {size for tensor in (*graph.parameters(), *graph.buffers()) for size in tensor.shape}
    length = next(size for size in count(_UNUSUAL_LENGTH) if size not in sizes_held)
    model = _export(graph, _of_length(inputs, length), outputs, _cut(inputs, sample, length), opset)
    try:
        open_length(model, length, {spec.name: spec.shape for spec in (*inputs, *outputs)})
        _check(model, graph, inputs, outputs, sample)
    except CompressError:
        fixed = [
            TensorSpec(spec.name, spec.dtype, tuple(_known(spec.shape, array.shape)))
            for spec, array in zip(inputs, sample, strict=True)
        ]
        model = _export(graph, fixed, outputs, sample, opset)
        _check(model, graph, fixed, outputs, sample)
    return model


def _of_length(specs: Sequence[TensorSpec], length: int) -> list[TensorSpec]:
    return [
        TensorSpec(spec.name, spec.dtype, tuple(length if size == TIME else size for size in spec.shape))
        for spec in specs
    ]


def _cut(inputs: Sequence[TensorSpec], sample: Sequence[np.ndarray], length: int) -> list[np.ndarray]:
    """Return the sample cut to so many steps."""
    return [
        np.take(array, np.arange(length) % array.shape[spec.shape.index(TIME)], spec.shape.index(TIME))
        if TIME in spec.shape
        else array
        for spec, array in zip(inputs, sample, strict=True)
    ]


def _known(shape: Sequence[int | str], sizes: Sequence[int]) -> list[int | str]:
    return [length if size == TIME else size for size, length in zip(shape, sizes, strict=True)]


def _check(
    model: onnx.ModelProto,
    graph: fx.GraphModule,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sample: Sequence[np.ndarray],
) -> None:
    """Check that a model computes the same as the graph, at other sizes of dynamic axes than it was exported with."""
    batch = []
    for seed, (spec, array) in enumerate(zip(inputs, sample, strict=True)):
        rows = 3 if spec.dynamic_batch else rows_of(array, spec.batch_axis)
        values = noise_like(torch.from_numpy(array), rows, seed, spec.batch_axis)
        if TIME in spec.shape:
            axis = spec.shape.index(TIME)
            values = noise_like(values, values.shape[axis] + 1, seed, axis)
        batch.append(values)
    with torch.no_grad():
        expected = graph(*(tensor.clone() for tensor in batch))
    expected = expected if isinstance(expected, tuple) else (expected,)
    _verify(
        model,
        {spec.name: tensor.numpy() for spec, tensor in zip(inputs, batch, strict=True)},
        {spec.name: tensor.numpy() for spec, tensor in zip(outputs, expected, strict=True)},
        half=computes_in_half(graph),
        exactly=lambda: {
            spec.name: exact for spec, exact in zip(outputs, _in_float64(graph, batch), strict=False)
        },
    )


def _in_float64(graph: fx.GraphModule, batch: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Return the graph's outputs in float64; empty where it does not run so."""
    wide = copy.deepcopy(graph).double()
    tensors = [tensor.double() if tensor.is_floating_point() else tensor.clone() for tensor in batch]
    try:
        with torch.no_grad():
            result = wide(*tensors)
    except Exception:  # noqa: BLE001 - a graph that casts to float32 itself, in whatever way it fails
        return []
    return [tensor.numpy() for tensor in (result if isinstance(result, tuple) else (result,))]


def _without_parametrizations(graph: fx.GraphModule) -> fx.GraphModule:
    """Return the graph with computed weights in place of parametrizations: a copy, where there are any."""
    if not any(parametrize.is_parametrized(module) for module in graph.modules()):
        return graph
    baked = copy.deepcopy(graph)
    for module in list(baked.modules()):
        if not parametrize.is_parametrized(module):
            continue
        plain_tensors = {name: getattr(module, name).detach() for name in module.parametrizations}  # type: ignore[union-attr]
        # Not remove_parametrizations: it takes the attribute from the class, which the copy shares with the original.
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module._modules["parametrizations"]
        for name, values in plain_tensors.items():
            module.register_parameter(name, nn.Parameter(values, requires_grad=False))
    return baked


def _export(
    graph: fx.GraphModule,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sample: Sequence[np.ndarray],
    opset: int,
) -> onnx.ModelProto:
    from compress.network.recurrent_export import TRANSLATIONS

    read_once()
    tensors = tuple(torch.from_numpy(array) for array in sample)
    dynamic = tuple(
        {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)} for spec in inputs
    )

    def exported(model: nn.Module | ExportedProgram) -> torch.onnx.ONNXProgram | None:
        with quiet():
            return torch.onnx.export(
                model,
                tensors,
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                dynamic_shapes=dynamic if any(dynamic) else None,
                opset_version=opset,
                dynamo=True,
                custom_translation_table=TRANSLATIONS,
                external_data=False,
                verbose=False,
            )

    try:
        try:
            program = exported(graph)
        except Exception:
            # By its name alone the batch is another size to every input, and not every graph is traced so.
            if sum(BATCH in spec.shape for spec in inputs) < 2:
                raise
            program = exported(_traced_with_one_batch(graph, dynamic, tensors))
    except Exception as error:
        raise NetworkError(
            "operators that have an ONNX form", _obstacle(graph, error), "replace it by standard operators"
        ) from error
    if program is None:
        raise InternalError(
            "an ONNX program",
            "none from torch.onnx.export",
            "export the network yourself, and give the ONNX file",
        )
    model: onnx.ModelProto = program.model_proto
    declared = {opset_import.domain: opset_import.version for opset_import in model.opset_import}.get("", 0)
    if declared != opset:  # torch rounds some versions up without a word
        raise InternalError(
            f"ONNX operator set {opset}",
            f"{declared} from torch {torch.__version__}",
            "install the version of torch that compress asks for",
        )
    return model


def _traced_with_one_batch(
    graph: fx.GraphModule, dynamic: Sequence[Mapping[int, str]], tensors: tuple[torch.Tensor, ...]
) -> ExportedProgram:
    """Return the graph traced with one size for the batch of all inputs."""
    batch = Dim(BATCH, min=1)
    shapes = tuple(
        {axis: batch if name == BATCH else Dim.AUTO for axis, name in axes.items()} for axes in dynamic
    )
    with quiet():
        return torch.export.export(graph, tensors, dynamic_shapes=shapes, strict=False)


def _obstacle(graph: fx.GraphModule, error: BaseException) -> str:
    """Return the operator at fault and its place in the user's source, from the exporter's report."""
    report = str(error)
    match = re.search(r"translating node %(\w+) .*?target=(?:torch\.ops\.)?([\w.]+)", report)
    if not match:
        while error.__cause__ is not None and error.__cause__ is not error:
            error = error.__cause__
        return essence(error)
    name, operator = match.groups()
    where = "".join(place(node) for node in graph.graph.nodes if node.name == name)
    reason = re.search(r"## Exception summary\s+<class '[\w.]+'>: (.*?)(\. |$)", report, re.MULTILINE)
    return f"'{operator}'{where}" + (f" ({reason.group(1)})" if reason else "")


def _verify(
    model: onnx.ModelProto,
    feeds: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    *,
    half: bool,
    exactly: Callable[[], Mapping[str, np.ndarray]],
) -> None:
    try:
        check_legal(model)
        results = open_session(model, optimized=False).run(list(expected), feeds)
    except Exception as error:
        raise NetworkError(
            f"a network that ONNX Runtime {onnxruntime.__version__} runs",
            essence(error),
            "convert it to float32, or replace the operator that is named",
        ) from error
    for (name, expected_array), result in zip(expected.items(), results, strict=True):
        tolerance = _HALF_TOLERANCE if half or expected_array.dtype == np.float16 else _TOLERANCE
        scale = max(1.0, float(np.nanmax(np.abs(expected_array), initial=0)))
        if result.shape != expected_array.shape or not np.allclose(
            result, expected_array, rtol=tolerance, atol=tolerance * scale, equal_nan=True
        ):
            if _is_as_near(result, expected_array, exactly().get(name)):
                continue  # float32 itself is no nearer to what the network means
            raise InternalError(
                f"an ONNX model that agrees with the network within {tolerance:g} of its largest output",
                f"another '{name}' {list(result.shape)}",
                "export the network yourself with torch.onnx.export, and give the ONNX file, which is taken as it is",
            )


def _is_as_near(result: np.ndarray, expected: np.ndarray, exact: np.ndarray | None) -> bool:
    """Whether a result is about as near to the exact one as the network's own in float32."""
    if exact is None or not result.shape == expected.shape == exact.shape or expected.dtype != np.float32:
        return False
    ours, their_error = (float(np.abs(array - exact).max(initial=0)) for array in (result, expected))
    return ours <= _TIMES_FLOAT32 * their_error and ours <= _MOST_ROUNDING * max(
        1.0, float(np.abs(exact).max(initial=0))
    )


@contextmanager
def _without_gradients(module: nn.Module) -> Iterator[None]:
    """Turn off the gradients of all parameters inside the block.

    The exporter writes some operators for training where one of their inputs needs a gradient (attention with a
    learned bias becomes a kernel that keeps statistics), and those have no ONNX form.
    """
    asking = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Set every submodule to inference mode inside the block, and to its own mode again after it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
