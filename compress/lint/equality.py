"""Check that a rewritten graph computes the same as the original, by running both here."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compress.core.child_process import EndedError, Limits, kept, serve
from compress.onnx_graph.operators import operator_of
from compress.onnx_graph.shapes import input_specs
from compress.onnx_graph.weights import exceeds_message, size_of_model

#: Largest difference that counts as equal, as a share of the largest output.
TOLERANCE = 1e-5
_HALF_TOLERANCE = 1e-2  # float16 rounds every intermediate value
_QUANTIZED_TOLERANCE = 5e-2  # what lies between two steps of int8 may be rounded to the other one

#: Samples and sizes of other open axes, tried in turn: some networks take one sample alone, others long signals.
_TRIED = ((2, 8), (1, 8), (2, 64), (1, 64), (1, 512), (1, 4096))

#: Why outputs were not compared, for a person.
NOT_COMPARED = (
    "ONNX Runtime runs the original on no random batch of those tried within reason; --input gives a shape"
)

#: Largest number of values of one input.
_MOST_VALUES = 1 << 26
#: What the comparison may take at the least, and what each byte of the graphs adds.
_SECONDS, _SECONDS_OF_BYTE, _MEMORY, _MEMORY_OF_BYTE = 30, 4e-6, 3 << 30, 32
_CHILD = "import sys; sys.path.append(sys.argv[1]); from compress.lint.equality import main; main()"


def largest_difference(
    original: onnx.ModelProto,
    rewritten: onnx.ModelProto,
    seed: int = 0,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> float | None:
    """Return the largest difference between the outputs on a random batch, as a share of the largest output.

    Both run in another process, within limits of time and memory: a network may loop for ever.

    Args:
        original: Original model.
        rewritten: Rewritten model with the same inputs and outputs, perhaps of narrower types.
        seed: Seed of the batch: normal floats, and integers of 0 and 1, which are valid indices into anything.
        shapes: Shapes of inputs by name; the open axes of others are given sizes until one runs.

    Returns:
        The difference, ≥ 0, infinite where shapes or non-finite values differ; None where it is unknown: ONNX Runtime
        runs the original on no batch that was tried within the limits, it is random, or over 2 GiB.
    """
    if exceeds_message(max(map(size_of_model, (original, rewritten)))):
        return None
    if any(operator_of(node).random for node in original.graph.node):
        return None
    size = original.ByteSize() + rewritten.ByteSize()
    limits = Limits(_SECONDS + size * _SECONDS_OF_BYTE, _MEMORY + size * _MEMORY_OF_BYTE)
    with tempfile.TemporaryDirectory(prefix="compress-") as folder:
        paths = [str(Path(folder) / name) for name in ("original", "rewritten")]
        for path, model in zip(paths, (original, rewritten), strict=True):
            Path(path).write_bytes(model.SerializeToString())
        shape_lists = {name: list(shape) for name, shape in (shapes or {}).items()}
        try:
            answer = kept(_CHILD).ask({"paths": paths, "seed": seed, "shapes": shape_lists}, limits)
        except EndedError:
            return None
    return None if answer is None else float(answer)


def main() -> None:
    """Compare the graphs that each line of standard input names, in the other process."""
    serve(_answer)


def _answer(request: dict[str, Any]) -> str | None:
    original, rewritten = map(onnx.load, request["paths"])
    try:
        difference = _difference_here(original, rewritten, request["seed"], request["shapes"])
    except MemoryError:
        return None
    return None if difference is None else repr(difference)  # JSON has no infinity


def _difference_here(
    original: onnx.ModelProto, rewritten: onnx.ModelProto, seed: int, shapes: Mapping[str, Sequence[int]]
) -> float | None:
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
        RuntimeException,
    )

    refusals = (Fail, InvalidArgument, InvalidGraph, NotImplemented, RuntimeException)
    for rows, size in _TRIED:
        feeds = _batch(original, seed, rows, size, shapes)
        if feeds is None:
            continue
        try:
            expected = _outputs(original, feeds)
        except refusals:
            continue
        break
    else:
        return None
    try:
        results = _outputs(rewritten, feeds)
    except refusals:
        return float("inf")
    return max((_difference(*pair) for pair in zip(results, expected, strict=True)), default=0.0)


def tolerance(model: onnx.ModelProto) -> float:
    """Return the largest allowed difference: 1e-5; 1e-2 in half precision; 5e-2 for quantized values."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return _QUANTIZED_TOLERANCE
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    constants = {tensor.data_type for tensor in model.graph.initializer}
    edge = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    return _HALF_TOLERANCE if half & (constants | edge) else TOLERANCE


def _batch(
    model: onnx.ModelProto, seed: int, rows: int, size: int, shapes: Mapping[str, Sequence[int]]
) -> dict[str, NDArray[np.generic]] | None:
    """Return random inputs; axes of one name have one size. None where they are too large, or of unknown type."""
    random = np.random.default_rng(seed)
    specs = [
        # "?" stands for any axis without a name, each of a size of its own
        (
            spec,
            [
                f"{spec.name} {axis}" if axis_size == "?" else axis_size
                for axis, axis_size in enumerate(spec.shape)
            ],
        )
        for spec in input_specs(model)
    ]
    sizes: dict[str, int] = {}
    for spec, axes in specs:
        known_sizes = zip(axes, shapes.get(spec.name, ()), strict=False)
        sizes |= {name: known_size for name, known_size in known_sizes if isinstance(name, str)}
    for _, axes in specs:
        if axes and isinstance(axes[0], str):
            sizes.setdefault(axes[0], rows)
    feeds: dict[str, NDArray[np.generic]] = {}
    for spec, axes in specs:
        shape = [axis if isinstance(axis, int) else sizes.get(axis, size) for axis in axes]
        shape = list(shapes.get(spec.name, shape))
        if spec.dtype == "unknown" or math.prod(shape) > _MOST_VALUES:
            return None
        dtype = np.dtype(spec.dtype)
        values = random.standard_normal(shape) if dtype.kind == "f" else random.integers(0, 2, shape)
        feeds[spec.name] = np.asarray(values).astype(dtype)
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
