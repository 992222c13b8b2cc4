"""Check that two forms of a network compute the same on random batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import fx

#: Largest difference that counts as equal, as a share of the largest output.
TOLERANCE = 1e-5
_HALF = (torch.float16, torch.bfloat16)
_HALF_TOLERANCE = 1e-2  # fp16 and bf16 round every intermediate value, in another order after lifting


def rows_of(array: torch.Tensor | np.ndarray, axis: int = 0) -> int:
    """Return the number of samples along an axis; 1 for a single value."""
    return int(array.shape[axis]) if array.ndim else 1


def noise_like(tensor: torch.Tensor, rows: int, seed: int, axis: int = 0) -> torch.Tensor:
    """Return a random batch: floats of the example's mean and deviation, other values permuted.

    Args:
        tensor: Batch to imitate.
        rows: Number of samples of the new batch.
        seed: Seed of the input values.
        axis: Axis that counts the samples.
    """
    generator = torch.Generator().manual_seed(seed)
    if tensor.dim() == 0:
        return tensor
    shape = (*tensor.shape[:axis], rows, *tensor.shape[axis + 1 :])
    if tensor.is_floating_point():
        deviation = tensor.double().std(correction=0).nan_to_num(1).clamp(min=1e-3)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (tensor.double().mean() + deviation * noise).to(tensor.dtype)
    # Integers are often indices, and a column of categories or one of two rows of numbers has a table of its own: only
    # those that occur in the same place of some sample are known to be valid.
    first = tensor.narrow(axis, 0, 1)
    if not torch.equal(first.expand_as(tensor), tensor):
        return tensor.gather(axis, torch.randint(tensor.shape[axis], shape, generator=generator))
    picks = torch.randint(tensor.numel(), shape, generator=generator)
    return tensor.flatten()[picks]


def agree(graph: fx.GraphModule, batch: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> bool:
    """Whether the graph gives the expected outputs, within the tolerance of its arithmetic."""
    return close(outputs_of(graph, batch), expected, half=computes_in_half(graph))


def outputs_of(graph: fx.GraphModule, batch: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return a graph's outputs for a batch, which it may write into."""
    with torch.no_grad():
        result = graph(*(tensor.clone() for tensor in batch))
    return result if isinstance(result, tuple) else (result,)


def computes_in_half(graph: fx.GraphModule) -> bool:
    """Whether a weight, or a value in between, is in float16 or bfloat16; what it returns may be in float32."""
    if any(tensor.dtype in _HALF for tensor in (*graph.parameters(), *graph.buffers())):
        return True
    values = (node.meta.get("val") for node in graph.graph.nodes)
    return any(isinstance(value, torch.Tensor) and value.dtype in _HALF for value in values)


def close(results: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], *, half: bool = False) -> bool:
    """Whether shapes, dtypes and, within 1e-5 of the largest value, values are the same; 1e-2 in half precision.

    Args:
        results: Outputs of one form of the network.
        expected: Outputs of the other form.
        half: Whether values in between are in half precision, whatever the outputs are in.
    """
    if len(results) != len(expected):
        return False
    for one, other in zip(results, expected, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        tolerance = _HALF_TOLERANCE if half or one.dtype in _HALF else TOLERANCE
        finite = other.double().nan_to_num(0, 0, 0).abs()
        scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
        if not torch.allclose(
            one.double(), other.double(), rtol=tolerance, atol=tolerance * scale, equal_nan=True
        ):
            return False
    return True


def difference(results: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> str:
    """Describe the largest difference: a share of the largest value, or a difference of kind."""
    if len(results) != len(expected):
        return f"{len(results)} in place of {len(expected)}"
    share = 0.0
    for one, other in zip(results, expected, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"{one.dtype}{list(one.shape)} in place of {other.dtype}{list(other.shape)},"
        apart = (one.double() - other.double()).abs()
        if apart.numel():
            largest = float(other.double().nan_to_num(0, 0, 0).abs().max())
            only_one = bool(one.isnan().ne(other.isnan()).any())
            apart_at_most = float(apart.nan_to_num(0).max()) / max(largest, 1e-12)
            share = max(share, math.inf if only_one else apart_at_most)
    return "NaN in one of them," if share == math.inf else f"up to {share:.2g} of their largest value"
