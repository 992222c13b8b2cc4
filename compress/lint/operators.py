"""Which graphs a runtime reads at all: opset, operators, element types, open axes."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from compress.lint.findings import Finding, Subject, name_of
from compress.lint.releases import release_of, version_of
from compress.onnx_graph.shapes import input_specs

#: What to write instead, for operators that have a common replacement.
_INSTEAD = {
    "LayerNormalization": "write it as ReduceMean, Sub, Pow, Sqrt, Div, Mul and Add, or use TensorRT 8.6 or later",
    "Gelu": "write it with Erf",
}


def opset(subject: Subject) -> Iterator[Finding]:
    """The opset is one that the runtime reads."""
    found, target = subject.graph.opset, subject.target
    highest, lowest = target.opset_max, None
    runtime = target.name
    if target.backend == "tensorrt":
        release = release_of(target.tensorrt)
        lowest, highest = release.lowest_opset, min(release.highest_opset, highest or release.highest_opset)
        runtime = f"TensorRT {target.tensorrt or '10'}"
    if highest is not None and found > highest:
        message = f"opset {found}, and {runtime} reads up to {highest}"
        yield Finding("opset", "error", "", message, f"export with opset {highest}")
    elif lowest is not None and found < lowest:
        message = f"opset {found}, and {runtime} reads from {lowest} on"
        yield Finding("opset", "error", "", message, f"export with opset {lowest} or later")


def operators(subject: Subject) -> Iterator[Finding]:
    """TensorRT's parser knows every operator."""
    release = release_of(subject.target.tensorrt)
    for node in subject.graph.nodes:
        named = f"TensorRT {subject.target.tensorrt or '10'}"
        if node.domain not in ("", "ai.onnx"):
            message = (
                f"{node.domain}.{node.op_type} is no standard operator, and {named} knows it by a plugin only"
            )
            yield Finding("operator", "error", name_of(node), message, "export with standard operators")
        elif node.op_type in release.unsupported:
            fix = _INSTEAD.get(node.op_type, "write the network without it")
            message = f"{named} does not have {node.op_type}"
            yield Finding("operator", "error", name_of(node), message, fix)


def wide_types(subject: Subject) -> Iterator[Finding]:
    """TensorRT has no double, and before release 10 no int64: it narrows them."""
    doubles = [node for node in subject.graph.nodes if TensorProto.DOUBLE in _types_made(node, subject)]
    if doubles:
        yield Finding(
            "wide-type",
            "warning",
            name_of(doubles[0]),
            f"{len(doubles)} operators compute in double, which TensorRT narrows to float and clamps",
            "cast to float32 before the export",
        )
    for name in subject.graph.inputs:
        dtype = subject.typed.element_type(name)
        if dtype == TensorProto.DOUBLE or (dtype == TensorProto.INT64 and _lacks_int64(subject)):
            wide, narrow = ("double", "float32") if dtype == TensorProto.DOUBLE else ("int64", "int32")
            yield Finding(
                "wide-type",
                "warning",
                name,
                f"the input is {wide}, and TensorRT {subject.target.tensorrt or '10'} takes {narrow}",
                f"feed {narrow}, or export the input as {narrow}",
            )


def open_axes(subject: Subject) -> Iterator[Finding]:
    """Only the batch is open: every other open axis needs its range, and kernels are chosen for one size in it."""
    for spec in input_specs(subject.graph.model):
        axes = [f"{axis} ({size})" for axis, size in enumerate(spec.shape) if axis and isinstance(size, str)]
        if axes:
            yield Finding(
                "open-axis",
                "warning",
                spec.name,
                f"axis {', '.join(axes)} is open: TensorRT needs its smallest, usual and largest size, is fast at the"
                " usual one, and its DLA takes none",
                "export with a fixed size, or give the sizes in the optimization profile",
            )


def _types_made(node: onnx.NodeProto, subject: Subject) -> set[int]:
    return {subject.typed.element_type(name) for name in node.output if name}


def _lacks_int64(subject: Subject) -> bool:
    return version_of(subject.target.tensorrt) < (10,)
