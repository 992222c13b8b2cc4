"""GPTQ (Frantar et al. 2022, arXiv 2210.17323): column after column is rounded, and later ones make up for the loss.

Grids are chosen before, group by group, for the weights as they were, with errors weighted by the inputs' squares.
Columns can then go in any order: those with the largest inputs first, while many others are left to make up for them.
Updates beyond a block of columns are one product, so that nearly all time is spent in BLAS.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from compress.quantization.weights.grouped import GroupedWeight, NotApplicableError
from compress.quantization.weights.scale_search import search_blocks
from compress.quantization.weights.settings import Settings

Array = NDArray[np.float32]

#: Columns whose updates stay among themselves at first.
_BLOCK = 64

#: Share of the mean square of the inputs that is added to each one's.
_DAMPING = 0.01


def gptq(weight: Array, inputs: Array, settings: Settings) -> GroupedWeight:
    """Round column after column; later columns compensate for the loss of earlier ones.

    Args:
        weight: Weight, float32 [outputs, inputs].
        inputs: Inputs of the layer, float32 [rows, inputs].
        settings: Settings with bits, group size and symmetry.

    Raises:
        NotApplicableError: The inputs' second moments cannot be inverted.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        moments = inputs.T @ inputs
    moments /= len(inputs)
    squares = moments.diagonal().copy()
    order = np.argsort(-squares, kind="stable")
    factor = _factor(moments[np.ix_(order, order)])
    grid = search_blocks(weight, settings, squares)
    columns = np.ascontiguousarray(weight.T[order])
    columns[squares[order] == 0] = 0  # they contribute nothing
    zeros = np.full_like(grid.scales, 2 ** (grid.bits - 1))
    if grid.zero_points is not None:
        zeros = grid.zero_points.astype(np.float32)
    scales, zeros = np.ascontiguousarray(grid.scales.T), np.ascontiguousarray(zeros.T)
    integers = grid.integers.reshape(len(weight), -1).copy()
    highest = np.float32(2**grid.bits - 1)
    for start in range(0, len(columns), _BLOCK):
        end = min(start + _BLOCK, len(columns))
        errors = np.empty((end - start, len(weight)), np.float32)
        for place in range(start, end):
            group = order[place] // grid.group_size
            scale, zero, column = scales[group], zeros[group], columns[place]
            integer = np.clip(np.rint(column / scale) + zero, 0, highest)
            integers[:, order[place]] = integer
            error = errors[place - start]
            np.divide(column - (integer - zero) * scale, factor[place, place], out=error)
            columns[place + 1 : end] -= np.multiply.outer(factor[place, place + 1 : end], error)
        columns[end:] -= factor[start:end, end:].T @ errors
    return replace(grid, integers=integers.reshape(grid.integers.shape))


def _factor(moments: Array) -> Array:
    """Return the upper factor of Cholesky's of the inverse of second moments, float32.

    The moments in the opposite order have a lower factor; in the order again it is an upper one, M, with H = M·Mᵀ. The
    inverse of H is then the product of the inverse of M, transposed, and itself.
    """
    wide = torch.from_numpy(moments.astype(np.float64))
    diagonal = wide.diagonal()
    mean = float(diagonal.mean())
    diagonal += _DAMPING * mean
    diagonal[diagonal == 0] = 1
    try:
        if not np.isfinite(mean):
            raise NotApplicableError("the second moments of its inputs cannot be inverted")
        upper = torch.linalg.cholesky(wide.flip(0, 1)).flip(0, 1)
        inverse = torch.linalg.solve_triangular(upper, torch.eye(len(upper), dtype=torch.float64), upper=True)
        factor: Array = inverse.numpy().astype(np.float32)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise NotApplicableError("the second moments of its inputs cannot be inverted") from error
    return factor
