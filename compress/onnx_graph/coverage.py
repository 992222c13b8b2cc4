"""Fusion coverage: the share of a compiled graph that really runs in int8.

A Q/DQ graph is a wish. What the runtime made of it stands in the graph it writes with
``optimized_model_filepath``: fused int8 kernels, float operators that stayed, and Q/DQ pairs between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states

from compress.onnx_graph.graph import Graph
from compress.onnx_graph.operators import as_standard, is_known, operator_of
from compress.records.coverage import Coverage


def fusion_coverage(optimized: onnx.ModelProto | Path) -> Coverage:
    """Read the graph that ONNX Runtime wrote with ``optimized_model_filepath``.

    Args:
        optimized: Optimized model or its file. It is run once, on zeros at batch 1, to learn the shapes.
    """
    model = onnx.load(optimized) if isinstance(optimized, Path) else optimized
    graph = Graph(model)
    values = _run_on_zeros(model)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("int8", "compute", "cheap", "pair")}
    macs: Counter[str] = Counter()
    for node in graph.nodes:
        kind = _kind(node, values)
        if kind is not None:
            counts[kind][node.op_type] += 1
            macs[kind] += 0 if values is None else _multiply_accumulates(node, graph, values)
    total = macs["int8"] + macs["compute"]
    return Coverage(
        int8=dict(sorted(counts["int8"].items())),
        float_compute=dict(sorted(counts["compute"].items())),
        float_cheap=dict(sorted(counts["cheap"].items())),
        quantize=counts["pair"]["QuantizeLinear"],
        dequantize=counts["pair"]["DequantizeLinear"],
        int8_mac_share=macs["int8"] / total if total else None,
    )


#: Name → (shape, dtype) of every tensor a node makes and every input.
_Values = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


def _kind(node: onnx.NodeProto, values: _Values | None) -> str | None:
    facts = operator_of(node)
    if facts.quantization == "pair":
        return "pair"
    if facts.computes_in_integers:
        return "int8"
    if facts.multiplies_matrices:
        return "compute"
    if facts.moves:
        return None
    dtypes = [] if values is None else [values[name][1] for name in node.output if name in values]
    # Arithmetic on shapes is integer; without types, everything is taken for float.
    return "cheap" if not dtypes or any(np.issubdtype(dtype, np.floating) for dtype in dtypes) else None


def _multiply_accumulates(node: onnx.NodeProto, graph: Graph, values: _Values) -> int:
    """Return the multiply-accumulates of a node, fused or not; 0 where they cannot be counted."""

    def shape(name: str) -> tuple[int, ...] | None:
        tensor = graph.initializers.get(name)
        if tensor is not None:
            return tuple(tensor.dims)
        return values[name][0] if name in values else None

    same = as_standard(node)
    formula = operator_of(same).macs if is_known(same) else None
    return 0 if formula is None else formula(same, shape) or 0


def _run_on_zeros(model: onnx.ModelProto) -> _Values | None:
    """Return shapes and types at batch 1; None where the network does not take zeros, or 1 on a dynamic axis."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    tensor_names = [name for node in model.graph.node for name in node.output if name]
    present = {value.name for value in model.graph.output}
    observed.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in tensor_names if name not in present
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            observed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feeds = {value.name: _zeros(value) for value in session.get_inputs()}
        computed = dict(zip(tensor_names, session.run(tensor_names, feeds), strict=True))
    except (
        states.Fail,
        states.InvalidArgument,
        states.InvalidGraph,
        states.NotImplemented,
        states.RuntimeException,
    ):
        return None
    arrays = {name: value for name, value in {**feeds, **computed}.items() if isinstance(value, np.ndarray)}
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _zeros(value: Any) -> NDArray[Any]:
    # onnxruntime names types "tensor(float)", "tensor(int64)", …
    name = value.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64", "string": "object"}.get(name, name)
    return np.zeros([size if isinstance(size, int) else 1 for size in value.shape], dtype)
