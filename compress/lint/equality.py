"""Whether a rewritten graph computes what the original does, seen by running both here."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.onnx_graph.operators import names
from compress.onnx_graph.shapes import input_specs

#: Largest difference that counts as equal, as a share of the largest output.
TOLERANCE = 1e-5
_HALF_TOLERANCE = 1e-2  # float16 rounds every intermediate value
_QUANTIZED_TOLERANCE = 5e-2  # what lies between two steps of int8 may be rounded to the other one

_ROWS, _OPEN_SIZE = 2, 8
_LARGEST_BYTES = 2**31 - 1  # protocol buffers end there
_RANDOM = names("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike")


def largest_difference(original: onnx.ModelProto, rewritten: onnx.ModelProto, seed: int = 0) -> float | None:
    """The largest difference between the outputs on a random batch, as a share of the largest output.

    Args:
        original: Any.
        rewritten: With the same inputs and outputs; they may be of narrower types.
        seed: Of the batch: normal floats, integers of 0 and 1, which are indices into anything.

    Returns:
        From 0 on, infinite where shapes or non-finite values differ; None where nothing can be said: ONNX Runtime
        cannot run the original here on such a batch, it is random, or over 2 GiB.
    """
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
        RuntimeException,
    )

    if max(original.ByteSize(), rewritten.ByteSize()) > _LARGEST_BYTES:
        return None
    if any(node.op_type in _RANDOM for node in original.graph.node):
        return None
    feeds = _batch(original, seed)
    refusals = (Fail, InvalidArgument, InvalidGraph, NotImplemented, RuntimeException)
    try:
        expected = _outputs(original, feeds)
    except refusals:
        return None
    try:
        results = _outputs(rewritten, feeds)
    except refusals:
        return float("inf")
    return max((_difference(*pair) for pair in zip(results, expected, strict=True)), default=0.0)


def tolerance(model: onnx.ModelProto) -> float:
    """What :func:`largest_difference` may be at most: 1e-5; 1e-2 in half precision; 5e-2 where values are quantized."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return _QUANTIZED_TOLERANCE
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    constants = {tensor.data_type for tensor in model.graph.initializer}
    edge = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    return _HALF_TOLERANCE if half & (constants | edge) else TOLERANCE


def _batch(model: onnx.ModelProto, seed: int) -> dict[str, NDArray[np.generic]]:
    random = np.random.default_rng(seed)
    feeds: dict[str, NDArray[np.generic]] = {}
    for spec in input_specs(model):
        shape = [
            size if isinstance(size, int) else _ROWS if axis == 0 else _OPEN_SIZE
            for axis, size in enumerate(spec.shape)
        ]
        dtype = np.dtype(spec.dtype)
        values = random.standard_normal(shape) if dtype.kind == "f" else random.integers(0, 2, shape)
        feeds[spec.name] = values.astype(dtype)
    return feeds


def _outputs(model: onnx.ModelProto, feeds: dict[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    dtypes = {spec.name: spec.dtype for spec in input_specs(model)}
    outputs: list[NDArray[np.generic]] = session.run(
        None, {name: array.astype(dtypes[name]) for name, array in feeds.items()}
    )
    return outputs


def _difference(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    if one.shape != other.shape:
        return float("inf")
    a, b = one.astype(np.float64), other.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not np.all(np.isfinite(a[~same]) & np.isfinite(b[~same])):
        return float("inf")
    scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
    return float(np.abs(a[~same] - b[~same]).max(initial=0)) / scale
