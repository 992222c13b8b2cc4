"""Round a layer's weights so that its outputs, not its weights, stay close.

Column after column is rounded to the grid, and what that changes in the output is made up for by the columns not yet
rounded: optimal brain quantization (Frantar and Alistarh 2022, arXiv 2208.11580) in the fixed order and with the
Cholesky factor of GPTQ (Frantar et al. 2022, arXiv 2210.17323). The inputs are those the quantized network makes and
the outputs those of the float one, so a layer also makes up for what the layers before it lost. Coordinate descent
from there, or from the nearest integers where an output is better off with those, takes the last of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.quantization.moments import Moments

#: Share of the mean input energy added to every input's own: keeps directions the samples hardly show as they are.
_RIDGE = 0.01

_PASSES = 2  # over all columns, after the first rounding

_BLOCK = 128  # columns after which the rest is brought up to date


def reconstruct(
    weight: NDArray[np.float64], steps: NDArray[np.float64], limit: int, moments: Moments, has_bias: bool
) -> NDArray[np.int64]:
    """Integers whose products with the inputs are close to the wanted outputs.

    Args:
        weight: The float weight, [groups, outputs, inputs].
        steps: Size of a step for each output, [groups, outputs], above 0.
        limit: The largest integer's magnitude.
        moments: Of the layer's quantized inputs and float outputs.
        has_bias: Whether a bias takes care of the mean.

    Returns:
        Integers [groups, outputs, inputs].
    """
    hessian, target = moments.centred() if has_bias else (moments.xx, moments.xy)
    inputs = hessian.shape[-1]
    energy = np.trace(hessian, axis1=1, axis2=2) / inputs
    ridge = np.maximum(_RIDGE * energy, np.finfo(np.float32).tiny)
    damped = hessian + ridge[:, None, None] * np.eye(inputs)
    # The least-squares weight for these inputs, drawn towards the float weight where the inputs say little.
    wanted = np.linalg.solve(damped, target + ridge[:, None, None] * weight.swapaxes(1, 2)).swapaxes(1, 2)
    order = np.argsort(-np.diagonal(damped, axis1=1, axis2=2), axis=1, kind="stable")
    sorted_rows = np.take_along_axis(damped, order[:, :, None], axis=1)
    ordered = np.take_along_axis(sorted_rows, order[:, None, :], axis=2)
    factor = np.linalg.cholesky(np.linalg.inv(ordered)).swapaxes(1, 2)  # upper triangular
    rounded = _by_columns(np.take_along_axis(wanted, order[:, None, :], axis=2), steps, limit, factor)
    by_columns = np.empty_like(rounded)
    np.put_along_axis(by_columns, np.broadcast_to(order[:, None, :], rounded.shape), rounded, axis=2)
    nearest = np.clip(np.rint(weight / steps[:, :, None]), -limit, limit)
    lost = [_lost(integers, steps, wanted, damped) for integers in (by_columns, nearest)]
    best = np.where((lost[0] <= lost[1])[:, :, None], by_columns, nearest)
    return _descended(best, steps, limit, wanted, damped).astype(np.int64)


def _lost(
    integers: NDArray[np.float64],
    steps: NDArray[np.float64],
    wanted: NDArray[np.float64],
    damped: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What each output loses against the least-squares weight, [groups, outputs]."""
    away = integers * steps[:, :, None] - wanted
    return np.asarray(((away @ damped) * away).sum(axis=2))


def _descended(
    integers: NDArray[np.float64],
    steps: NDArray[np.float64],
    limit: int,
    wanted: NDArray[np.float64],
    damped: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Columns rounded once more, each to its best integers with all others as they are: the loss never grows."""
    found = integers.copy()
    slope = (found * steps[:, :, None] - wanted) @ damped
    for column in np.tile(np.arange(found.shape[2]), _PASSES):
        ideal = found[:, :, column] - slope[:, :, column] / (damped[:, None, column, column] * steps)
        moved = np.clip(np.rint(ideal), -limit, limit) - found[:, :, column]
        if moved.any():
            found[:, :, column] += moved
            slope += (moved * steps)[:, :, None] * damped[:, None, column, :]
    return found


def _by_columns(
    wanted: NDArray[np.float64], steps: NDArray[np.float64], limit: int, factor: NDArray[np.float64]
) -> NDArray[np.float64]:
    rest, inputs = wanted.copy(), wanted.shape[2]
    integers = np.empty_like(wanted)
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.empty((*wanted.shape[:2], stop - start))
        for column in range(start, stop):
            integers[:, :, column] = np.clip(np.rint(rest[:, :, column] / steps), -limit, limit)
            error = rest[:, :, column] - integers[:, :, column] * steps
            error /= factor[:, column, column][:, None]
            rest[:, :, column:stop] -= error[:, :, None] * factor[:, None, column, column:stop]
            errors[:, :, column - start] = error
        rest[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return integers
