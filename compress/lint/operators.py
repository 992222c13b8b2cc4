"""Rules for opset and operators, which decide whether a runtime reads a graph at all."""

from __future__ import annotations

from collections.abc import Iterator

from compress.lint.findings import Finding, Subject, every_node, name_of
from compress.lint.releases import opsets_of, release_of

#: What to write instead, for operators that have a common replacement, and the rewrite that does it.
_INSTEAD = {
    "LayerNormalization": (
        "write it as ReduceMean, Sub, Mul, Sqrt, Div and Add, or use TensorRT 8.6 or later",
        "layer-normalization",
    ),
    "GroupNormalization": ("write it as Reshape and the arithmetic of the norm", "group-normalization"),
    "Gelu": ("write it with Erf", "gelu"),
    "Mish": ("write it with Softplus and Tanh", "mish"),
    "CastLike": ("write it as Cast", "cast-like"),
}


def opset(subject: Subject) -> Iterator[Finding]:
    """Rule: the opset is one that the runtime reads."""
    opset_found, target = subject.graph.opset, subject.target
    lowest, highest = opsets_of(target)
    runtime, source = target.name, target.sources.get("opset_max", "")
    if target.backend == "tensorrt":
        runtime, source = f"TensorRT {target.tensorrt or '10'}", release_of(target.tensorrt).source
    if highest is not None and opset_found > highest:
        message = f"opset {opset_found}, and {runtime} reads up to {highest}"
        yield Finding("opset", "error", "", message, f"export with opset {highest}", source, "opset")
    elif lowest is not None and opset_found < lowest:
        message = f"opset {opset_found}, and {runtime} reads from {lowest} on"
        yield Finding("opset", "error", "", message, f"export with opset {lowest} or later", source, "opset")


def operators(subject: Subject) -> Iterator[Finding]:
    """Rule: TensorRT's parser knows every operator, those inside branches and loops included."""
    release = release_of(subject.target.tensorrt)
    named = f"TensorRT {subject.target.tensorrt or '10'}"
    top = {id(node) for node in subject.graph.nodes}
    for node in every_node(subject):
        if node.domain not in ("", "ai.onnx"):
            message = (
                f"{node.domain}.{node.op_type} is no standard operator, and {named} knows it by a plugin only"
            )
            fix = "export with standard operators"
            yield Finding("operator", "error", name_of(node), message, fix, release.source)
        elif node.op_type in release.unsupported:
            fix, rewrite = _INSTEAD.get(node.op_type, ("write the network without it", ""))
            message = f"{named} does not have {node.op_type}"
            rewrite = rewrite if id(node) in top else ""
            yield Finding("operator", "error", name_of(node), message, fix, release.source, rewrite)
