"""Verification of a lifted graph against its network, on noise and on the user's own example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

from compress.errors import CompressError, InternalError, LiftError
from compress.network.equivalence import (
    TOLERANCE,
    agree,
    close,
    computes_in_half,
    difference,
    noise_like,
    outputs_of,
    rows_of,
)
from compress.network.example import with_rows
from compress.network.lifting.written_operators import wrongly_described
from compress.network.tracing import Traced, run

if TYPE_CHECKING:
    import torch

    from compress.network.lifting.graph import Lifted

#: Rows to verify with; another number than any trace is made with.
ROWS = 5


def verified(lifted: Lifted, traced: Traced) -> Lifted:
    """Return the lifted graph, once it has computed the same as the network.

    Raises:
        LiftError: The network is random in inference, takes another path without gradients, or has an operator that a
            package describes wrongly.
        InternalError: The graph computes other results than the network.
    """
    example = list(traced.example.values())
    # Another number of rows than the one it was traced with, where the network allows it.
    batch = [
        noise_like(
            tensor,
            ROWS if spec.dynamic_batch and not traced.fixed else rows_of(tensor, spec.batch_axis),
            seed,
            spec.batch_axis,
        )
        for seed, (tensor, spec) in enumerate(zip(example, lifted.inputs, strict=True))
    ]
    rows = rows_of(example[0], lifted.inputs[0].batch_axis)
    every = not traced.fixed and all(spec.dynamic_batch for spec in lifted.inputs)
    repeated = with_rows(traced.example, max(rows, 2), traced.axes) if every else traced.example
    # Noise takes other paths than the user's own data: padding masks of noise are not at the end.
    for inputs in (dict(zip(traced.example, batch, strict=True)), repeated, *_taken(lifted, traced)):
        expected = run(traced.reference, inputs)
        if not agree(lifted.graph, list(inputs.values()), expected):
            raise _differing(lifted.graph, traced, inputs, expected)
    return lifted


def _taken(lifted: Lifted, traced: Traced) -> list[dict[str, torch.Tensor]]:
    """Return the batches of another height, width or length that the graph accepts."""
    return [
        with_rows(other, 2, traced.axes)
        for other in traced.others
        if not traced.fixed
        and all(
            isinstance(size, str) or size == length or axis == spec.batch_axis
            for spec, tensor in zip(lifted.inputs, other.values(), strict=True)
            for axis, (size, length) in enumerate(zip(spec.shape, tensor.shape, strict=True))
        )
    ]


def _differing(
    graph: fx.GraphModule,
    traced: Traced,
    inputs: dict[str, torch.Tensor],
    expected: tuple[torch.Tensor, ...],
) -> CompressError:
    """Return the error that explains why a lifted graph differs from the network on these inputs."""
    if not close(run(traced.reference, inputs), expected):
        return LiftError(
            "a network that gives the same outputs for the same inputs",
            "one that is random in inference mode",
            "make it deterministic in eval()",
        )
    outputs = outputs_of(graph, list(inputs.values()))
    if close(outputs, run(traced.reference, inputs, gradients=True), half=computes_in_half(graph)):
        return LiftError(
            "a network that computes the same with gradients and without",
            f"outputs {difference(outputs, expected)} apart on the given data; without gradients "
            "torch.nn.TransformerEncoder gives zeros in padded places where the padding is at the end",
            "make it with nn.TransformerEncoder(..., enable_nested_tensor=False), or leave padded places out of the "
            "outputs (a masked mean, the first place), and check its accuracy",
        )
    apart = f"outputs {difference(outputs, expected)} apart"
    return wrongly_described(traced.program, list(inputs.values())) or InternalError(
        f"a lifted graph that agrees with the network within {TOLERANCE:g}",
        apart,
        "give the network as an ONNX file (torch.onnx.export), which is taken as it is",
    )
