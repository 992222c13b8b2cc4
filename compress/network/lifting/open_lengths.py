"""Lengths that stay open: torch.export takes recurrent layers for one length alone, the lifted graph for any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from compress.core.tensor_spec import TIME, TensorSpec
from compress.network.equivalence import agree, noise_like
from compress.network.example import varying
from compress.network.lifting.verification import ROWS
from compress.network.tracing import Traced, run

if TYPE_CHECKING:
    from compress.network.lifting.graph import Lifted


def with_open_time(lifted: Lifted, traced: Traced) -> Lifted:
    """Return the graph for sequences of any length, where samples lie along axis 1 or the data's length varies.

    torch.export takes recurrent layers for one length alone; the lifted graph calls the layers themselves.
    """
    lifted = _with_named_time(lifted)
    example = list(traced.example.values())
    varies = varying(traced.example, traced.others, traced.axes)
    steps = [
        _time_axis(spec, varies.get(name, []))
        for name, spec in zip(traced.example, lifted.inputs, strict=True)
    ]
    lengths = {tensor.shape[axis] for tensor, axis in zip(example, steps, strict=True) if axis is not None}
    if len(lengths) != 1 or traced.fixed:
        return lifted
    (length,) = lengths
    longer = [
        tensor if axis is None else noise_like(tensor, length + ROWS, seed, axis)
        for seed, (tensor, axis) in enumerate(zip(example, steps, strict=True))
    ]
    try:
        expected = run(traced.reference, dict(zip(traced.example, longer, strict=True)))
        opened = agree(lifted.graph, longer, expected)
    except Exception:  # noqa: BLE001 - whatever a network for one length raises on another
        return lifted
    if not opened:
        return lifted
    grown = [
        TensorSpec(
            spec.name,
            spec.dtype,
            tuple(
                TIME if isinstance(size, int) and size == length and size != now else size
                for size, now in zip(spec.shape, tensor.shape, strict=True)
            ),
        )
        for spec, tensor in zip((*lifted.inputs, *lifted.outputs), (*longer, *expected), strict=True)
    ]
    return lifted._replace(inputs=tuple(grown[: len(longer)]), outputs=tuple(grown[len(longer) :]))


def _with_named_time(lifted: Lifted) -> Lifted:
    """Return the graph with a name for the only open axis besides the batch, where layers recur along it."""
    opened = {
        size
        for spec in lifted.inputs
        for axis, size in enumerate(spec.shape)
        if isinstance(size, str) and axis != spec.batch_axis
    }
    if len(opened) != 1 or not any(isinstance(layer, torch.nn.RNNBase) for layer in lifted.graph.modules()):
        return lifted
    named = [
        TensorSpec(spec.name, spec.dtype, tuple(TIME if size in opened else size for size in spec.shape))
        for spec in (*lifted.inputs, *lifted.outputs)
    ]
    return lifted._replace(
        inputs=tuple(named[: len(lifted.inputs)]), outputs=tuple(named[len(lifted.inputs) :])
    )


def _time_axis(spec: TensorSpec, varies: Sequence[int]) -> int | None:
    """Return the axis of an input that is time and has one length so far; None where there is none."""
    fixed = [axis for axis in varies if isinstance(spec.shape[axis], int)]
    if not fixed and spec.batch_axis == 1 and isinstance(spec.shape[0], int):
        return 0
    return fixed[0] if len(fixed) == 1 else None
