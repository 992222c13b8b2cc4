"""Fusion coverage: the share of a compiled graph that really runs in int8.

A Q/DQ graph is a wish. What the runtime made of it stands in the graph it writes with
``optimized_model_filepath``: fused int8 kernels, float operators that stayed, and Q/DQ pairs between the two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states

from compress.onnx_graph.graph import Graph, attribute

_INT8 = frozenset(
    {"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QAttention", "QMoE"}
    | {"DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
)
_FLOAT_COMPUTE = frozenset(
    {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
    | {
        "MatMulNBits",
        "Einsum",
        "Attention",
        "MultiHeadAttention",
        "GroupQueryAttention",
        "GRU",
        "LSTM",
        "RNN",
    }
)
# Operators that move values or compute with shapes cost little in any type.
_MOVING = frozenset(
    {
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Range",
    }
    | {"ReorderInput", "ReorderOutput", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Tile"}
    | {"Transpose", "Unsqueeze", "Resize", "ScatterND", "DepthToSpace", "SpaceToDepth", "Dropout"}
)


@dataclass(frozen=True)
class Coverage:
    """Coverage of a graph after the runtime's fusions.

    Attributes:
        int8: Number of fused int8 kernels, by operator type.
        float_compute: Number of operators with many multiply-accumulates that run in float, by type.
        float_cheap: Number of other arithmetic operators in float, by type.
        quantize: Number of QuantizeLinear nodes left: each is a pass over a tensor.
        dequantize: Number of DequantizeLinear nodes left.
        int8_mac_share: Share of the multiply-accumulates that run in int8, from 0 to 1, at batch 1; None where
            the shapes could not be found.
    """

    int8: Mapping[str, int]
    float_compute: Mapping[str, int]
    float_cheap: Mapping[str, int]
    quantize: int
    dequantize: int
    int8_mac_share: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value for name, value in asdict(self).items()
        }


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
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return "pair"
    if node.op_type in _INT8 or node.op_type.startswith("QLinear"):
        return "int8"
    if node.op_type in _FLOAT_COMPUTE:
        return "compute"
    if node.op_type in _MOVING:
        return None
    dtypes = [] if values is None else [values[name][1] for name in node.output if name in values]
    # Arithmetic on shapes is integer; without types, everything is taken for float.
    return "cheap" if not dtypes or any(np.issubdtype(dtype, np.floating) for dtype in dtypes) else None


def _multiply_accumulates(node: onnx.NodeProto, graph: Graph, values: _Values) -> int:
    """Return the multiply-accumulates of Conv, Gemm, MatMul and recurrent operators, fused or not; 0 for others."""

    def shape(name: str) -> tuple[int, ...]:
        tensor = graph.initializers.get(name)
        return tuple(tensor.dims) if tensor is not None else values[name][0]

    made = math.prod(values[node.output[0]][0]) if node.output[0] in values else 0
    name = (
        node.op_type.removeprefix("QLinear").removeprefix("Q").removeprefix("Fused").removeprefix("NhwcFused")
    )
    if name in ("Conv", "ConvInteger"):
        weight = shape(node.input[3 if node.op_type == "QLinearConv" else 1])
        return made * math.prod(weight[1:])
    if name == "ConvTranspose":
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])
    if name == "Gemm":
        left = shape(node.input[0])
        return made * left[0 if attribute(node, "transA", 0) else 1]
    if name in ("MatMul", "MatMulNBits", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"):
        left = shape(node.input[0])
        return made * left[-2 if attribute(node, "transA", 0) else -1]
    if name in ("GRU", "LSTM", "RNN"):
        steps = math.prod(shape(node.input[0])[:2])  # [time, batch, features]
        return steps * (math.prod(shape(node.input[1])) + math.prod(shape(node.input[2])))
    return 0


def _run_on_zeros(model: onnx.ModelProto) -> _Values | None:
    """Return shapes and types at batch 1; None where the network does not take zeros, or 1 on a dynamic axis."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    made = [name for node in model.graph.node for name in node.output if name]
    present = {value.name for value in model.graph.output}
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in present)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            observed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feeds = {value.name: _zeros(value) for value in session.get_inputs()}
        computed = dict(zip(made, session.run(made, feeds), strict=True))
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
