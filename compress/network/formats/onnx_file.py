"""ONNX models: read, checked, and tried in ONNX Runtime. torch is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from compress.core.tensor_spec import TensorSpec, named_axes
from compress.errors import LiftError, NetworkError
from compress.network.formats.first_reading import read_elsewhere
from compress.onnx_graph.operators import operator_of
from compress.onnx_graph.reading import check_looked_at, essence, open_here, read_model
from compress.onnx_graph.rewrites.later import LOWEST_IR
from compress.onnx_graph.sparse import dense_constants
from compress.onnx_graph.weights import values_of

# The domains whose operators ONNX Runtime itself brings along.
_DOMAINS = frozenset(
    {
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.ms.internal.nhwc",
        "org.pytorch.aten",
    }
)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read the model in a file, its external data included.

    Axes of a negative size are open (see :mod:`compress.onnx_graph.axes`). Initializers are no longer listed as inputs,
    as IR 3 wanted them: they are weights, and ONNX Runtime folds them only then. Sparse ones are dense.

    Raises:
        NetworkError: The file is damaged, invalid, not runnable by ONNX Runtime, or has NaN among its weights.
        LiftError: The file has an operator that ONNX Runtime does not know.
    """
    read_elsewhere(path, "onnx")
    model = read_model(path)
    weights = {initializer.name for initializer in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)
    model.ir_version = max(model.ir_version, LOWEST_IR)
    dense_constants(model)
    _refuse_custom_operators(model, path)
    _check_finite(model, path)
    return model


def check_runs(path: Path) -> None:
    """Check by native code whether a file is valid ONNX, and whether ONNX Runtime opens it.

    Raises:
        NetworkError: The file is damaged, invalid, or not runnable by ONNX Runtime.
        LiftError: The file has an operator that ONNX Runtime does not know.
        MemoryError: There is not enough memory for it.
    """
    import onnxruntime

    model = read_model(path, external_data=False)
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, OSError, ValueError, RuntimeError) as error:
        raise NetworkError("a valid ONNX model", f"{path}: {essence(error)}", "export it again") from error
    _refuse_custom_operators(model, path)
    try:
        open_here(path, optimized=False)
    except MemoryError:
        raise
    except Exception as error:
        raise NetworkError(
            f"a model that ONNX Runtime {onnxruntime.__version__} runs",
            f"{path}: {essence(error)}",
            "export it again, with an older operator set if it names one",
        ) from error
    check_looked_at(path)


def read_specs(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs of a model; where no axis is called ``batch``, an open axis 0 gets the name.

    Raises:
        NetworkError: An input or output is not a tensor of numbers.
    """
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = tuple(_spec(value) for value in model.graph.input if value.name not in weights)
    if any(not value.type.tensor_type.HasField("shape") for value in model.graph.output):
        model = onnx.shape_inference.infer_shapes(model)
    return inputs, tuple(_spec(value) for value in model.graph.output)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type in (
        onnx.TensorProto.UNDEFINED,
        onnx.TensorProto.STRING,
    ):
        raise NetworkError(
            "a network whose inputs and outputs are tensors of numbers",
            f"'{value.name}', which is none",
            "cut it off the model",
        )
    shape = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_{axis}"
        for axis, dim in enumerate(tensor.shape.dim)
    ]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(value.name, np.dtype(dtype).name, named_axes(shape))


def _refuse_custom_operators(model: onnx.ModelProto, path: Path) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model.graph):
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in functions:
            raise LiftError(
                "operators that ONNX Runtime knows",
                f"the custom operator '{node.domain}::{node.op_type}' at the node '{node.name or node.output[0]}' "
                f"in {path}",
                "replace it by standard ONNX operators",
            )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield every node, those of branches and loop bodies included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
            for inner in attribute.graphs:
                yield from _nodes(inner)


def _check_finite(model: onnx.ModelProto, path: Path) -> None:
    # Where an infinite weight is a fault; in a table, or elsewhere, it may be the mask of an attention.
    of_layers = {
        name
        for node in model.graph.node
        if operator_of(node).weights and operator_of(node).kind != "data movement"
        for name in node.input
    }
    for weight in model.graph.initializer:
        try:
            array = values_of(weight)
        except (KeyError, ValueError, TypeError) as error:
            raise NetworkError(
                "weights of a known dtype and the announced size",
                f"'{weight.name}' of {path}",
                "export it again",
            ) from error
        if array.dtype.kind != "f":
            continue
        fault = "NaN" if np.isnan(array).any() else None
        if fault is None and weight.name in of_layers and np.isinf(array).any():
            fault = "an infinite value"
        if fault:
            raise NetworkError(
                "a network of finite weights",
                f"{fault} in '{weight.name}' of {path}",
                "use an earlier checkpoint",
            )
