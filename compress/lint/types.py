"""Rules for element types: those that a TensorRT release has, and those that it narrows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from compress.lint.findings import Finding, Subject, name_of
from compress.lint.releases import release_of, version_of
from compress.onnx_graph.operators import operator_of
from compress.target.target import Target

_NAMES = dict(zip(TensorProto.DataType.values(), TensorProto.DataType.keys(), strict=True))
_INT32 = np.iinfo(np.int32)


def wide_types(subject: Subject) -> Iterator[Finding]:
    """Rule: no double, and before release 10 no int64, which TensorRT narrows."""
    source = release_of(subject.target.tensorrt).source
    doubles = [node for node in subject.graph.nodes if TensorProto.DOUBLE in _types_made(node, subject)]
    if doubles:
        yield Finding(
            "wide-type",
            "warning",
            name_of(doubles[0]),
            f"{len(doubles)} operators compute in double, which TensorRT narrows to float and clamps",
            "cast to float32 before the export",
            source,
        )
    for what, verb, tensors in (
        ("input", "takes", subject.graph.inputs),
        ("output", "gives", subject.graph.outputs),
    ):
        for name in tensors:
            dtype = subject.typed.element_type(name)
            if dtype != TensorProto.DOUBLE and not (
                dtype == TensorProto.INT64 and lacks_int64(subject.target)
            ):
                continue
            wide, narrow = ("double", "float32") if dtype == TensorProto.DOUBLE else ("int64", "int32")
            user = f"feed {narrow}" if what == "input" else f"read {narrow}"
            yield Finding(
                "wide-type",
                "warning",
                name,
                f"the {what} is {wide}, and TensorRT {subject.target.tensorrt or '10'} {verb} {narrow}",
                f"{user}, or export the {what} as {narrow}",
                source,
                "narrow-types",
            )


def wide_constants(subject: Subject) -> Iterator[Finding]:
    """Rule: before release 10, no int64 constants beyond int32's range, to which they are clamped."""
    if not lacks_int64(subject.target):
        return
    source = release_of(subject.target.tensorrt).source
    for node in subject.graph.nodes:
        for position, name in enumerate(node.input):
            value = subject.value(name)
            if value is None or value.dtype != np.int64 or not value.size:
                continue
            beyond = value[(value < _INT32.min) | (value > _INT32.max)]
            if not beyond.size:
                continue
            message = f"the int64 constant {beyond.flat[0]}, which TensorRT clamps to int32"
            if node.op_type == "Slice" and position in (1, 2):
                message += ": still the end of the axis"
                yield Finding(
                    "wide-constant",
                    "note",
                    name_of(node),
                    message,
                    "write int32's own bound",
                    source,
                    "int32-constants",
                )
            else:
                fix = "compute with values inside int32's range"
                yield Finding("wide-constant", "error", name_of(node), message, fix, source)


def unknown_types(subject: Subject) -> Iterator[Finding]:
    """Rule: every tensor has a type that the release reads; uint8 only for inputs and outputs."""
    release, target = release_of(subject.target.tensorrt), subject.target
    if release.types is None:
        return
    edge = {*subject.graph.inputs, *subject.graph.outputs}
    for name, where in _tensors(subject):
        dtype = subject.typed.element_type(name)
        if not dtype:
            continue
        if dtype not in release.types and not _of_quantization(where):
            message = f"{_NAMES[dtype]}, and TensorRT {target.tensorrt or '10'} has no such type"
            fix = "export with float32, float16, int32 or bool"
            yield Finding("type", "error", name, message, fix, release.source)
        elif dtype == TensorProto.UINT8 and name not in edge and not _of_quantization(where):
            message = "UINT8 inside of the graph, and TensorRT has it for inputs and outputs only"
            yield Finding("type", "error", name, message, "cast to int32 or float32 first", release.source)
        elif dtype == TensorProto.BFLOAT16 and target.peaks.bf16_tflops is None:
            message = f"BFLOAT16, and {target.name} does not compute in it"
            yield Finding(
                "type", "error", name, message, "cast to float16 instead", f"targets/{target.name}.toml"
            )


def lacks_int64(target: Target) -> bool:
    """Whether the target's release narrows int64 to int32, as all before 9.0 do (onnx-tensorrt's changelog)."""
    return version_of(target.tensorrt) < (9,)


def _tensors(subject: Subject) -> Iterator[tuple[str, onnx.NodeProto | None]]:
    """Yield each tensor with the node that makes it, inputs and read constants first."""
    for name in subject.graph.inputs:
        yield name, None
    for name in subject.graph.initializers:
        readers = subject.graph.consumers.get(name)
        if readers:
            yield name, readers[0]
    for node in subject.graph.nodes:
        for name in node.output:
            if name:
                yield name, node


def _of_quantization(node: onnx.NodeProto | None) -> bool:
    """Whether the tensor belongs to quantization, whose types have rules of their own."""
    return node is not None and operator_of(node).quantization in ("pair", "integers")


def _types_made(node: onnx.NodeProto, subject: Subject) -> set[int]:
    return {subject.typed.element_type(name) for name in node.output if name}
