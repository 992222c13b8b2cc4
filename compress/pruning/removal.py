"""Removal of units from a network as a transaction: copy, slice, check, and only then return.

The sliced network has to give what the original gives without the removed units, on random inputs, and outputs of
unchanged shapes; otherwise it is thrown away. Where random inputs make NaN or infinity, as a logarithm does of
negative ones, it is checked on the example too. The caller's network is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from compress.errors import InternalError, RecipeError
from compress.network.equivalence import noise_like, rows_of
from compress.network.onnx_export import in_eval_mode
from compress.network.tracing import essence
from compress.pruning.groups import Channels, Units
from compress.pruning.masked import run_masked
from compress.pruning.slicing import slice_graph

#: Largest difference between sliced and masked outputs, as a share of the largest output.
TOLERANCE = 1e-4


def remove(channels: Channels, units: Units, batch: Sequence[torch.Tensor]) -> fx.GraphModule:
    """Return the graph without these units, verified; the original graph is not changed.

    Args:
        channels: Units found in the graph.
        units: Positions of the units to remove, by the group's name. At least one unit of a group stays.
        batch: One batch for every input, with as many rows as the network allows; values may be random.

    Returns:
        A new graph in inference mode.

    Raises:
        RecipeError: A group is unknown, nothing would be left of one, or neither the batch nor the example makes a
            finite output to check by.
        InternalError: The sliced graph does not compute what the masked one does.
    """
    for name, positions in units.items():
        if len(set(np.asarray(positions, np.int64).tolist())) >= len(channels.group(name)):
            raise RecipeError(
                f"at least one unit left of '{name}'", f"all {len(channels.group(name))} removed", "keep some"
            )
    removed = channels.removed(units)
    graph = channels.propagation.graph
    with in_eval_mode(graph):
        sliced = slice_graph(channels, removed).eval()
        _check(channels, removed, sliced, batch)
    return sliced


def _check(
    channels: Channels, removed: NDArray[np.bool_], sliced: fx.GraphModule, batch: Sequence[torch.Tensor]
) -> None:
    compared = _compare(channels, removed, sliced, batch)
    if not all(finite.all() for finite in compared):
        of_example = _compare(channels, removed, sliced, channels.example)
        compared = [torch.cat(pair) for pair in zip(compared, of_example, strict=True)]
    if not all(finite.any() for finite in compared if finite.numel()):
        raise RecipeError(
            "a network whose outputs are finite, to check what is cut out of it",
            "an output that is nothing but NaN or infinity, on random inputs and on the sample",
            "look for NaN in the data, or leave prune out of the recipe",
        )


def _compare(
    channels: Channels, removed: NDArray[np.bool_], sliced: fx.GraphModule, batch: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Compare outputs; return for each which values were finite and so comparable, ``bool[values]``."""
    expected = run_masked(channels, removed, batch)
    try:
        with torch.no_grad():
            result = sliced(*(tensor.clone() for tensor in batch))
    except Exception as error:
        raise InternalError(
            "a sliced network that runs",
            essence(error),
            "keep the layer out of pruning (exclude), or leave prune out of the recipe",
        ) from error
    results = result if isinstance(result, list | tuple) else (result,)
    for one, other in zip(results, expected, strict=True):
        difference = _difference(one, other)
        if not difference <= TOLERANCE:
            raise InternalError(
                "a sliced network that computes what the masked one does",
                f"a difference of {difference:.1e} of the largest output",
                "keep the layer out of pruning (exclude), or leave prune out of the recipe",
            )
    return [output.isfinite().flatten() for output in expected]


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference over the largest finite value; infinite where shapes, NaN or infinity differ."""
    if one.shape != other.shape:
        return float("inf")
    one, other = one.double(), other.double()
    finite = other.isfinite()
    if not torch.allclose(one[~finite], other[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    one, other = one[finite], other[finite]
    largest = float(other.abs().max())
    return float((one - other).abs().max()) / max(largest, 1e-12)


def random_batch(
    example: Sequence[torch.Tensor],
    dynamic: Sequence[bool],
    seed: int = 0,
    axes: Sequence[int] | None = None,
) -> list[torch.Tensor]:
    """Return random inputs like the example's, with another number of samples where the batch is dynamic.

    Args:
        example: One batch for every input.
        dynamic: Whether each input takes any number of samples.
        seed: Seed of the input values.
        axes: Axis of each input that counts its samples; None is axis 0 for all.
    """
    axes = [0] * len(example) if axes is None else axes
    return [
        noise_like(tensor, 3 if free else rows_of(tensor, axis), seed + number, axis)
        for number, (tensor, free, axis) in enumerate(zip(example, dynamic, axes, strict=True))
    ]
