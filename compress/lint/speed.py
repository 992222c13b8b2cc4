"""What ONNX Runtime runs, but slower than another form of the same."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from compress.lint.findings import Finding, Subject, name_of


def signed_activations(subject: Subject) -> Iterator[Finding]:
    """Where the target's flavour has unsigned activations, signed ones run in slower kernels."""
    if subject.target.quantization.activation != "uint8":
        return
    signed = [
        node
        for node in subject.graph.nodes
        if node.op_type == "QuantizeLinear"
        and node.input[0] not in subject.constants
        and subject.typed.element_type(node.output[0]) == TensorProto.INT8
    ]
    if signed:
        yield Finding(
            "signed-activations",
            "warning",
            name_of(signed[0]),
            f"{len(signed)} activations are INT8; this processor's kernels for UINT8 are about three times as fast",
            f"quantize for {subject.target.name} (compress optimize --target {subject.target.name})",
        )
