"""Rounding of a layer's weights so that its outputs, not its weights, stay close.

Column after column is rounded to the grid, and what that changes in the output is made up for by the columns not yet
rounded: optimal brain quantization (Frantar and Alistarh 2022, arXiv 2208.11580) in the fixed order and with the
Cholesky factor of GPTQ (Frantar et al. 2022, arXiv 2210.17323). The inputs are those the quantized network makes and
the outputs those of the float one, so a layer also makes up for what the layers before it lost. Coordinate descent
from there, or from the nearest integers where an output is better off with those, takes the last of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.quantization.moments import Floats, Moments

#: Share of the mean input energy added to every input's own: keeps directions the samples hardly show as they are.
_RIDGE = 0.01

_ROUNDED_OFF = 128  # times the rounding of one product, which sums of many may reach

_PASSES = 2  # over all columns, after the first rounding

_BLOCK = 64  # columns after which the rest is brought up to date


def reconstruct(
    weight: Floats, steps: Floats, limit: int, moments: Moments, has_bias: bool
) -> NDArray[np.int64]:
    """Return integers whose products with the inputs are close to the wanted outputs.

    Args:
        weight: Float weight, [groups, outputs, inputs].
        steps: Size of a step for each output, [groups, outputs], above 0.
        limit: Largest magnitude of an integer.
        moments: Moments of the layer's quantized inputs and float outputs.
        has_bias: Whether a bias corrects the mean.

    Returns:
        Integers [groups, outputs, inputs].
    """
    energy = np.trace(moments.xx, axis1=1, axis2=2) / moments.xx.shape[-1]
    hessian, target = moments.centred() if has_bias else (moments.xx.copy(), moments.xy)
    del moments  # a matrix less in memory, where the caller keeps none of them
    dtype: Any = hessian.dtype
    weight, steps = weight.astype(dtype), steps.astype(dtype)
    diagonal = np.einsum("gii->gi", hessian)  # a view
    # What is left of sums whose means were taken off is not known better than they were rounded.
    rounded_off = _ROUNDED_OFF * np.finfo(dtype).eps * energy
    ridge = np.maximum(_RIDGE * diagonal.mean(axis=1), np.maximum(rounded_off, np.finfo(np.float32).tiny))
    ridge = ridge.astype(dtype)
    diagonal += ridge[:, None]  # the hessian is damped from here on
    order = np.argsort(-diagonal, axis=1, kind="stable")
    factor = _factor(
        np.take_along_axis(np.take_along_axis(hessian, order[:, :, None], 1), order[:, None, :], 2)
    )
    # The least-squares weight for these inputs, drawn towards the float weight where the inputs say little.
    pulled = target + ridge[:, None, None] * weight.swapaxes(1, 2)
    ordered = factor.swapaxes(1, 2) @ (factor @ np.take_along_axis(pulled, order[:, :, None], axis=1))
    rounded = _by_columns(ordered.swapaxes(1, 2), steps, limit, factor)
    del factor
    back = np.broadcast_to(order[:, None, :], rounded.shape)
    ideal_weight, by_columns = np.empty_like(rounded), np.empty_like(rounded)
    np.put_along_axis(ideal_weight, back, ordered.swapaxes(1, 2), axis=2)
    np.put_along_axis(by_columns, back, rounded, axis=2)
    nearest = np.clip(np.rint(weight / steps[:, :, None]), -limit, limit)
    lost = [_lost(integers, steps, ideal_weight, hessian) for integers in (by_columns, nearest)]
    best = np.where((lost[0] <= lost[1])[:, :, None], by_columns, nearest)
    return _descended(best, steps, limit, ideal_weight, hessian).astype(np.int64)


def _factor(damped: Floats) -> Floats:
    """Return the upper triangular U with Uᵀ U the inverse, for each group, [groups, inputs, inputs].

    With J the reversal and J A J = M Mᵀ, A is R Rᵀ for the upper triangular R = J M J, and U = R⁻¹.
    """
    import torch  # numpy has no triangular solver

    turned = torch.from_numpy(np.ascontiguousarray(damped[:, ::-1, ::-1]))
    upper = torch.linalg.cholesky(turned).flip(1, 2)
    del turned
    identity = torch.eye(damped.shape[-1], dtype=upper.dtype).expand(len(damped), -1, -1)
    solved: Floats = torch.linalg.solve_triangular(upper, identity, upper=True).numpy()
    return solved


def _lost(
    integers: Floats,
    steps: Floats,
    ideal_weight: Floats,
    damped: Floats,
) -> Floats:
    """Return the loss of each output against the least-squares weight, [groups, outputs]."""
    away = integers * steps[:, :, None] - ideal_weight
    return np.asarray(((away @ damped) * away).sum(axis=2))


def _descended(
    integers: Floats,
    steps: Floats,
    limit: int,
    ideal_weight: Floats,
    damped: Floats,
) -> Floats:
    """Round columns once more, each to its best integers with all others fixed: the loss never grows."""
    integers_so_far = integers.copy()
    for _ in range(_PASSES):
        slope = (integers_so_far * steps[:, :, None] - ideal_weight) @ damped
        for start in range(0, integers_so_far.shape[2], _BLOCK):
            stop = min(start + _BLOCK, integers_so_far.shape[2])
            before = integers_so_far[:, :, start:stop].copy()
            for column in range(start, stop):
                ideal = integers_so_far[:, :, column] - slope[:, :, column] / (
                    damped[:, None, column, column] * steps
                )
                moved = np.clip(np.rint(ideal), -limit, limit) - integers_so_far[:, :, column]
                at = np.nonzero(moved)  # few are not at their best already
                if len(at[0]):
                    integers_so_far[:, :, column] += moved
                    by = (moved * steps)[at][:, None] * damped[at[0], column, column + 1 : stop]
                    slope[at[0], at[1], column + 1 : stop] += by
            changed = (integers_so_far[:, :, start:stop] - before) * steps[:, :, None]
            slope[:, :, stop:] += changed @ damped[:, start:stop, stop:]
    return integers_so_far


def _by_columns(weight: Floats, steps: Floats, limit: int, factor: Floats) -> Floats:
    remainder, inputs = weight.copy(), weight.shape[2]
    integers = np.empty_like(weight)
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.empty((*weight.shape[:2], stop - start), weight.dtype)
        for column in range(start, stop):
            integers[:, :, column] = np.clip(np.rint(remainder[:, :, column] / steps), -limit, limit)
            error = remainder[:, :, column] - integers[:, :, column] * steps
            error /= factor[:, column, column][:, None]
            remainder[:, :, column:stop] -= error[:, :, None] * factor[:, None, column, column:stop]
            errors[:, :, column - start] = error
        remainder[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return integers
