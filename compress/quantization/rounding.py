"""Round a layer's weights so that its outputs, not its weights, stay close.

Column after column is rounded to the grid, and what that changes in the output is made up for by the columns not yet
rounded: optimal brain quantization (Frantar and Alistarh 2022, arXiv 2208.11580) in the fixed order and with the
Cholesky factor of GPTQ (Frantar et al. 2022, arXiv 2210.17323). The inputs are those the quantized network makes and
the outputs those of the float one, so a layer also makes up for what the layers before it lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.quantization.moments import Moments

#: Share of the mean input energy added to every input's own: keeps directions the samples hardly show as they are.
_RIDGE = 0.01

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
    damped = np.take_along_axis(
        np.take_along_axis(damped, order[:, :, None], axis=1), order[:, None, :], axis=2
    )
    wanted = np.take_along_axis(wanted, order[:, None, :], axis=2)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(1, 2)  # upper triangular
    rounded = _by_columns(wanted, steps, limit, factor)
    integers = np.empty_like(rounded)
    np.put_along_axis(integers, np.broadcast_to(order[:, None, :], rounded.shape), rounded, axis=2)
    return integers


def _by_columns(
    wanted: NDArray[np.float64], steps: NDArray[np.float64], limit: int, factor: NDArray[np.float64]
) -> NDArray[np.int64]:
    rest, inputs = wanted.copy(), wanted.shape[2]
    integers = np.empty(wanted.shape, np.int64)
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
