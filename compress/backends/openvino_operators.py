"""Operators of a decoder's ONNX graph as operators of OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.openvino_attention import attend
from compress.backends.openvino_translation import Translation
from compress.backends.openvino_weights import looked_up, product

if TYPE_CHECKING:
    import onnx

#: A function that adds what a node is to a translation.
Operator = Callable[[Translation, "onnx.NodeProto"], None]


def _plain(name: str) -> Operator:
    """Return the form of an operator that has the same inputs in OpenVINO."""

    def operator(at: Translation, node: onnx.NodeProto) -> None:
        at.give(node, getattr(at.ov, name)(*(at.values[input_name] for input_name in node.input)))

    return operator


def _cast(at: Translation, node: onnx.NodeProto) -> None:
    import onnx

    dtype = onnx.helper.tensor_dtype_to_np_dtype(at.attribute(node, "to"))
    at.give(node, at.ov.convert(at.values[node.input[0]], dtype))


def _reduced(name: str) -> Operator:
    def operator(at: Translation, node: onnx.NodeProto) -> None:
        source, axes = (at.values[input_name] for input_name in node.input)
        at.give(node, getattr(at.ov, name)(source, axes, bool(at.attribute(node, "keepdims", 1))))

    return operator


def _pooled(at: Translation, node: onnx.NodeProto) -> None:
    """Add GlobalAveragePool, which folding makes of the mean over the last of three axes."""
    source = at.values[node.input[0]]
    axes = [-1 - axis for axis in range(source.get_partial_shape().rank.get_length() - 2)]
    at.give(node, at.ov.reduce_mean(source, at.integers(axes), True))


def _gather(at: Translation, node: onnx.NodeProto) -> None:
    table, rows = (at.values[input_name] for input_name in node.input)
    at.give(node, at.ov.gather(table, rows, at.integers(at.attribute(node, "axis", 0))))


def _gelu(at: Translation, node: onnx.NodeProto) -> None:
    kind = at.attribute(node, "approximate", b"none").decode()
    at.give(node, at.ov.gelu(at.values[node.input[0]], "tanh" if kind == "tanh" else "erf"))


def _reshape(at: Translation, node: onnx.NodeProto) -> None:
    packed = at.initializers.get(node.input[0])
    if packed is not None:  # of an embedding: who looks up in it asks for the constant
        at.tables[node.output[0]] = node.input[0]
        return
    at.give(node, at.ov.reshape(*(at.values[input_name] for input_name in node.input), special_zero=True))


def _shape(at: Translation, node: onnx.NodeProto) -> None:
    shape = at.ov.shape_of(at.values[node.input[0]], "i64")
    start, end = at.attribute(node, "start", 0), at.attribute(node, "end", np.iinfo(np.int64).max)
    if (start, end) != (0, np.iinfo(np.int64).max):
        shape = at.ov.slice(shape, *(at.integers([bound]) for bound in (start, end, 1)))
    at.give(node, shape)


def _slice(at: Translation, node: onnx.NodeProto) -> None:
    source, start, end, axes = (at.values[input_name] for input_name in node.input[:4])
    at.give(node, at.ov.slice(source, start, end, at.integers([1]), axes))


def _layer_norm(at: Translation, node: onnx.NodeProto) -> None:
    source, weight, bias = (at.values[input_name] for input_name in node.input)
    at.give(node, _mean_taken(at, source, weight, bias, at.attribute(node, "epsilon")))


def _skip_layer_norm(at: Translation, node: onnx.NodeProto) -> None:
    residual, change, weight, bias = (at.values[input_name] for input_name in node.input)
    total = at.ov.add(residual, change)
    at.give(node, _mean_taken(at, total, weight, bias, at.attribute(node, "epsilon")), total)


def _mean_taken(at: Translation, source: Any, weight: Any, bias: Any, epsilon: float) -> Any:
    normed = at.ov.mvn(source, at.integers([-1]), True, epsilon, "inside_sqrt")
    return at.ov.add(at.ov.multiply(normed, weight), bias)


def _skip_norm(at: Translation, node: onnx.NodeProto) -> None:
    residual, change, weight = (at.values[input_name] for input_name in node.input)
    ov, total = at.ov, at.ov.add(residual, change)
    mean = ov.reduce_mean(ov.power(total, at.floats(2)), at.integers([-1]), True)
    root = ov.sqrt(ov.add(mean, at.floats(at.attribute(node, "epsilon"))))
    at.give(node, ov.multiply(ov.divide(total, root), weight), total)


def _matmul(at: Translation, node: onnx.NodeProto) -> None:
    source, matrix = (at.values[input_name] for input_name in node.input)
    at.give(node, at.ov.matmul(source, matrix, False, bool(at.attribute(node, "transB", 0))))


def _cumulated(at: Translation, node: onnx.NodeProto) -> None:
    source, axis = node.input
    at.give(node, at.ov.cum_sum(at.values[source], at.integers(at.array(axis).item())))


#: Operators that have a form.
OPERATORS: dict[str, Operator] = {
    "Add": _plain("add"),
    "Cast": _cast,
    "CumSum": _cumulated,
    "Div": _plain("divide"),
    "FusedMatMul": _matmul,
    "Gather": _gather,
    "GatherBlockQuantized": looked_up,
    "Gelu": _gelu,
    "GlobalAveragePool": _pooled,
    "GroupQueryAttention": attend,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "MatMulNBits": product,
    "Max": _plain("maximum"),
    "Mul": _plain("multiply"),
    "Pow": _plain("power"),
    "ReduceMean": _reduced("reduce_mean"),
    "ReduceSum": _reduced("reduce_sum"),
    "Relu": _plain("relu"),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _plain("sigmoid"),
    "SkipLayerNormalization": _skip_layer_norm,
    "SkipSimplifiedLayerNormalization": _skip_norm,
    "Slice": _slice,
    "Sqrt": _plain("sqrt"),
    "Sub": _plain("subtract"),
}
