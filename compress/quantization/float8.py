"""8-bit floating point, E4M3FN: Q/DQ where int8's would be, with scales that put the largest value at 448.

Micikevicius et al. 2022, "FP8 Formats for Deep Learning", arXiv 2209.05433: four bits of exponent, three of mantissa,
no infinity, ±448 at the ends. Steps grow with the value, so ranges follow from the largest value alone and nothing is
clipped. QuantizeLinear knows the type from opset 19 on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.errors import NetworkError
from compress.onnx_graph.fold import infer_shapes, prepare
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.quantized import quantized_operator
from compress.onnx_graph.weights import values_of
from compress.quantization.calibration import calibrate
from compress.quantization.grid import SMALLEST_SCALE
from compress.quantization.insertion import insert
from compress.quantization.observers import MinMaxObserver
from compress.quantization.placement import Placement, place
from compress.quantization.settings import Settings
from compress.target.target import TENSORRT_FLAVOUR

#: The largest number of E4M3FN.
LARGEST = 448.0

_FIRST_OPSET = 19
_INT8_STEPS = 127


def quantize_float8(
    model: onnx.ModelProto, batches: Iterable[Mapping[str, NDArray[Any]]], settings: Settings
) -> tuple[onnx.ModelProto, Placement]:
    """Put E4M3FN Q/DQ around the operators that TensorRT runs in it.

    Args:
        model: A float32 network; it is not modified.
        batches: Batches of samples; see :func:`compress.quantization.calibration.watch`.
        settings: Settings that say what stays float; the others are for int8.

    Returns:
        The quantized model, with weights stored in 8 bits, and the placement of Q/DQ.

    Raises:
        NetworkError: The model is quantized already, cannot be written in opset 19, or has nothing to quantize.
        RecipeError: A node to be excluded is not in the network.
        DataError: The samples do not fit, or make NaN or infinity.
    """
    prepared = prepare(model, store_twice=True, opset=_FIRST_OPSET)
    operator = quantized_operator(prepared)
    if operator is not None:
        raise NetworkError(
            "a float network", f"{operator} in it: it is quantized already", "give the float one"
        )
    placement = place(prepared, TENSORRT_FLAVOUR, settings)
    if not placement.weighted:
        raise NetworkError("a network with something to quantize", "none", "exclude less")
    own_scales = [name for name in placement.activations if placement.same_scale_as[name] == name]
    ranges = calibrate(prepared, own_scales, batches, MinMaxObserver).ranges
    quantized = insert(prepared, placement, ranges, TENSORRT_FLAVOUR)
    _from_int8(quantized, prepared, placement)
    infer_shapes(quantized)
    return quantized, placement


def _from_int8(quantized: onnx.ModelProto, prepared: onnx.ModelProto, placement: Placement) -> None:
    """Turn int8's Q/DQ into those of E4M3FN, in place: the same pairs, another grid."""
    graph, floats = Graph(quantized), Graph(prepared)
    pairs = [node for node in graph.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for name in dict.fromkeys(node.input[1] for node in pairs):
        scale = np.maximum(_value(graph, name) * (_INT8_STEPS / LARGEST), SMALLEST_SCALE)
        _replace(graph, name, scale.astype(np.float32))
    for name in dict.fromkeys(node.input[2] for node in pairs):
        _replace(graph, name, _float8(np.zeros(graph.initializers[name].dims)))
    nodes = {node.name: node for node in graph.nodes}
    written: set[str] = set()
    for weighted in placement.weighted:
        dequantize = graph.producers[nodes[weighted.node].input[1]]
        stored = dequantize.input[0]
        if stored in written:
            continue
        written.add(stored)
        weight = _value(floats, weighted.weight)
        along = [1] * weight.ndim
        if weighted.axis is not None:
            along[weighted.axis] = -1
        _replace(graph, stored, _float8(weight / _value(graph, dequantize.input[1]).reshape(along)))
    float_values = [
        value for value in quantized.graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    del quantized.graph.value_info[:]  # the others tell int8
    quantized.graph.value_info.extend(float_values)


def _value(graph: Graph, name: str) -> NDArray[Any]:
    return values_of(graph.initializers[name])


def _float8(values: NDArray[Any]) -> NDArray[Any]:
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN)
    clipped = np.clip(values, -LARGEST, LARGEST).astype(np.float32)
    return np.asarray(clipped.astype(dtype))


def _replace(graph: Graph, name: str, values: NDArray[Any]) -> None:
    graph.initializers[name].CopyFrom(numpy_helper.from_array(np.asarray(values), name))
