"""A lint rule: a function from a graph to findings."""

from __future__ import annotations

from collections.abc import Iterator

from compress.lint.findings import Finding, Subject, name_of

_MULTIPLE = 16


def channel_multiple(subject: Subject) -> Iterator[Finding]:
    """Find convolutions whose channels do not fill the vectors of the example's runtime."""
    for node in subject.graph.nodes:
        weight = subject.value(node.input[1]) if node.op_type == "Conv" else None
        if weight is not None and weight.shape[0] % _MULTIPLE:
            yield Finding(
                "channel-multiple",
                "warning",
                name_of(node),
                f"{weight.shape[0]} channels, no multiple of {_MULTIPLE}",
                f"give it a multiple of {_MULTIPLE}",
                "the example's documentation",
            )


channel_multiple.backends = ("example-runtime",)  # type: ignore[attr-defined]
