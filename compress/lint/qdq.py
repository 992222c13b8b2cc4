"""Rules for TensorRT's quantization: symmetric, in QuantizeLinear/DequantizeLinear pairs, set before the build.

"Working with Quantized Types" in TensorRT's developer guide; the operators' own pages (Quantize, Dequantize).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from compress.lint.findings import Finding, Subject, name_of
from compress.lint.releases import version_of
from compress.onnx_graph.graph import attribute
from compress.onnx_graph.operators import operator_of

_REQUANTIZE = "quantize for this target again (compress optimize --target …)"
_SOURCE = "TensorRT developer guide, Working with Quantized Types"
#: The release from which on an engine computes in the types that the graph says, and in no others.
_STRONGLY_TYPED = (10,)
#: Layers that an engine computes in int8 where both their inputs come from DequantizeLinear.
_LAYERS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
_TYPE_NAMES = dict(zip(TensorProto.DataType.values(), TensorProto.DataType.keys(), strict=True))


def quantized_operators(subject: Subject) -> Iterator[Finding]:
    """Rule: no integer operators, which TensorRT does not know; it fuses Q/DQ pairs instead."""
    for node in subject.graph.nodes:
        if operator_of(node).quantization == "integers" and not operator_of(node).from_runtime:
            yield Finding(
                "quantized-operator",
                "error",
                name_of(node),
                f"{node.op_type} is unknown to TensorRT, which fuses QuantizeLinear and DequantizeLinear instead",
                "export in the QDQ format with constant scales",
                _SOURCE,
            )


def zero_points(subject: Subject) -> Iterator[Finding]:
    """Rule: quantization is symmetric, and every zero point is the constant 0."""
    for node in _pairs(subject):
        if len(node.input) < 3 or not node.input[2]:
            continue
        value = subject.value(node.input[2])
        if node.input[2] not in subject.constants:
            problem = "the zero point is computed at run time"
        elif value is not None and np.any(value):
            problem = f"zero point {value[value != 0].flat[0]}"
        else:
            continue
        message = f"{problem}, and TensorRT quantizes symmetrically, with zero point 0"
        yield Finding("zero-point", "error", name_of(node), message, _REQUANTIZE, _SOURCE)


def scales(subject: Subject) -> Iterator[Finding]:
    """Rule: scales are constant, positive and finite."""
    for node in _pairs(subject):
        value = subject.value(node.input[1])
        if node.input[1] not in subject.constants:
            problem = "the scale is computed at run time, and TensorRT needs it when it builds"
        elif value is not None and not np.all(legal := np.isfinite(value) & (value > 0)):
            problem = f"scale {value[~legal].flat[0]:g} is not positive and finite"
        else:
            continue
        yield Finding("scale", "error", name_of(node), problem, _REQUANTIZE, _SOURCE)


def quantized_types(subject: Subject) -> Iterator[Finding]:
    """Rule: quantized types are INT8; FP8, FP4 and, for weights, INT4 where the target has them."""
    release = version_of(subject.target.tensorrt)
    peaks = subject.target.peaks
    allowed = {TensorProto.INT8}
    if peaks.fp8_tflops and release >= (10,):
        allowed.add(TensorProto.FLOAT8E4M3FN)
    if peaks.fp4_tflops and release >= (10, 8):
        allowed.add(TensorProto.FLOAT4E2M1)
    for node in _pairs(subject):
        quantizes = node.op_type == "QuantizeLinear"
        tensor = node.output[0] if quantizes else node.input[0]
        dtype = subject.typed.element_type(tensor)
        weight = tensor in subject.constants
        if dtype in allowed or (dtype == TensorProto.INT4 and weight and release >= (10,)):
            continue
        producer = subject.graph.producers.get(tensor)
        if not quantizes and producer is not None and producer.op_type == "QuantizeLinear":
            continue  # said of the QuantizeLinear
        if dtype == TensorProto.INT32:
            what, fix = "a bias quantized to INT32", "leave the bias in float"
        else:
            what, fix = f"a {'weight' if weight else 'tensor'} quantized to {_TYPE_NAMES[dtype]}", _REQUANTIZE
        has = ", ".join(sorted(_TYPE_NAMES[element_type] for element_type in allowed))
        yield Finding(
            "quantized-type",
            "error",
            name_of(node),
            f"{what}, and on {subject.target.name} TensorRT dequantizes {has} only",
            fix,
            _SOURCE,
            "float-biases" if weight and dtype == TensorProto.INT32 else "",
        )


def unpaired(subject: Subject) -> Iterator[Finding]:
    """Rule: each QuantizeLinear is read only by DequantizeLinear."""
    for node in subject.graph.nodes:
        if node.op_type != "QuantizeLinear":
            continue
        readers = subject.graph.consumers.get(node.output[0], [])
        others = [name_of(reader) for reader in readers if reader.op_type != "DequantizeLinear"]
        if node.output[0] in subject.graph.outputs:
            others.append("the graph's output")
        if others or not readers:
            readers_told = f"read by {', '.join(others)}" if others else "read by nothing"
            message = f"a QuantizeLinear {readers_told}; TensorRT fuses it with the DequantizeLinear after it"
            yield Finding(
                "unpaired-quantize",
                "error",
                name_of(node),
                message,
                "put a DequantizeLinear behind it",
                _SOURCE,
            )


def casts_between(subject: Subject) -> Iterator[Finding]:
    """Rule: where precision lies in the graph alone, no Cast stands between a DequantizeLinear and its layer.

    A strongly typed engine fuses Q/DQ with a layer that reads it, as far as nothing but movement of values is between;
    a Cast is kept, and the layer behind it computes in floats.
    """
    if version_of(subject.target.tensorrt) < _STRONGLY_TYPED:
        return
    for node in subject.graph.nodes:
        if node.op_type not in _LAYERS:
            continue
        for name in node.input[:2]:
            cast = _cast_behind(name, subject)
            if cast is not None:
                yield Finding(
                    "cast-after-dequantize",
                    "warning",
                    name_of(node),
                    f"{name_of(cast)} casts what DequantizeLinear gives it; the engine keeps the cast, and computes "
                    "this layer in floats",
                    "give Q/DQ scales of the type that the layer computes in (ONNX opset 19 or later)",
                    _SOURCE,
                )
                break


def _cast_behind(name: str, subject: Subject) -> onnx.NodeProto | None:
    """Return the last Cast on the way from a DequantizeLinear to a tensor; None without both."""
    cast = None
    while (node := subject.graph.producers.get(name)) is not None:
        if node.op_type == "DequantizeLinear":
            return cast
        if node.op_type == "Cast":
            cast = cast or node
        elif not operator_of(node).carries_quantized:
            return None
        name = node.input[0]
    return None


def activation_granularity(subject: Subject) -> Iterator[Finding]:
    """Rule: activations, which vary at run time, have one scale per tensor."""
    for node in _pairs(subject):
        producer = subject.graph.producers.get(node.input[0])
        repeats = producer is not None and producer.op_type == "QuantizeLinear"
        if node.input[0] in subject.constants or repeats or _scale_count(node, subject) <= 1:
            continue
        message = "an activation with a scale per channel; TensorRT takes one per tensor"
        yield Finding("activation-granularity", "error", name_of(node), message, _REQUANTIZE, _SOURCE)


def weight_axes(subject: Subject) -> Iterator[Finding]:
    """Rule: weights with several scales have one per output channel."""
    for node in subject.graph.nodes:
        if node.op_type != "DequantizeLinear" or node.input[0] not in subject.constants:
            continue
        if _scale_count(node, subject) <= 1 or attribute(node, "block_size", 0):
            continue
        for expected, rank, reader in _output_axes(node.output[0], subject):
            axis = attribute(node, "axis", 1) % rank
            if axis != expected:
                yield Finding(
                    "weight-axis",
                    "error",
                    name_of(node),
                    f"a scale for each index of axis {axis}, and the output channels of {reader} are axis {expected}",
                    f"quantize this weight along axis {expected}",
                    _SOURCE,
                )


def _pairs(subject: Subject) -> Iterator[onnx.NodeProto]:
    return (node for node in subject.graph.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear"))


def _scale_count(node: onnx.NodeProto, subject: Subject) -> int:
    value = subject.value(node.input[1])
    return 1 if value is None else int(value.size)


def _output_axes(name: str, subject: Subject) -> Iterator[tuple[int, int, str]]:
    """Yield the axis of output channels, the rank and the layer's name for each layer with this weight."""
    for reader in subject.graph.consumers.get(name, []):
        rank = subject.typed.rank(name)
        if rank is None:
            continue
        position = list(reader.input).index(name)
        if reader.op_type == "Transpose":
            order = attribute(reader, "perm", list(range(rank))[::-1])
            for axis, _, layer in _output_axes(reader.output[0], subject):
                yield order[axis], rank, layer
        elif position == 1:
            axes = {
                "Conv": 0,
                "ConvTranspose": 1,
                "Gemm": 0 if attribute(reader, "transB", 0) else 1,
                "MatMul": rank - 1,
            }
            if reader.op_type in axes:
                yield axes[reader.op_type], rank, name_of(reader)
