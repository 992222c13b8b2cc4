"""Rules for forms that ONNX Runtime runs slower than an equal one."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from compress.lint.findings import Finding, Subject, name_of
from compress.onnx_graph.zeros import zeros_of

#: Share of a weight's values from which zeros are no chance.
_MANY_ZEROS = 0.3


def signed_activations(subject: Subject) -> Iterator[Finding]:
    """Rule: activations are unsigned where the target's flavour is, since signed ones run in slower kernels."""
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


def idle_zeros(subject: Subject) -> Iterator[Finding]:
    """Rule: no weights are pruned to zeros, which save no time except as 2:4 on GPUs that support it."""
    many = [zeros for zeros in zeros_of(subject.graph.model) if zeros.zeros >= _MANY_ZEROS * zeros.values]
    if subject.target.sparsity_2_4:
        many = [zeros for zeros in many if not zeros.two_of_four]
    if many:
        share = sum(zeros.zeros for zeros in many) / sum(zeros.values for zeros in many)
        yield Finding(
            "sparsity-no-gain",
            "note",
            many[0].node,
            f"{100 * share:.0f} % of the values of {len(many)} weights are zeros, which are multiplied like any other",
            "remove whole channels (technique prune); zeros alone make nothing faster here",
        )
