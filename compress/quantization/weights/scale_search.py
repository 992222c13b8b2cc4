"""Rounding to 4 bits on the grid of each group that loses least, among several scales and zero points.

Plain rounding spreads the integers from a group's smallest weight to its largest. A narrower grid clips these, and is
finer for all others. For integers d = q − zero that a grid gives, the best scale is Σ m·w·d / Σ m·d², and the loss
Σ m·w² − (Σ m·w·d)² / Σ m·d², where m is how much an input matters. llama.cpp's quantizers search in this way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compress.quantization.weights.grouped import GroupedWeight, in_groups
from compress.quantization.weights.onnxruntime import round_blocks
from compress.quantization.weights.settings import Settings

Array = NDArray[np.float32]

#: Widths of grids that are tried, over that of plain rounding.
_WIDTHS = np.linspace(0.7, 1.05, 8, dtype=np.float32)

#: Places of a narrower grid that are tried, from the end of the smallest weights to that of the largest.
_PLACES = (0.0, 0.5, 1.0)

#: The largest integer of 4 bits, and the one that stands for 0 where there are no zero points.
_HIGHEST, _MIDDLE = np.float32(15), np.float32(8)

#: Weights that are looked at at once, so few that they stay in the processor's cache.
_PIECE = 1 << 16


#: Algorithms that round plainly: what is trained for that rounding needs it afterwards.
PLAIN = ("rtn", "onnxruntime")


def round_alone(weight: Array, settings: Settings, importance: Array | None = None) -> GroupedWeight:
    """Round each group by itself: plainly where the settings' algorithm does, else on the best grids.

    Args:
        weight: Weight, float32 [outputs, inputs].
        settings: Settings with an algorithm, bits, group size and symmetry.
        importance: See :func:`search_blocks`.
    """
    if settings.algorithm in PLAIN:
        return round_blocks(weight, settings)
    return search_blocks(weight, settings, importance)


def name_of(settings: Settings) -> str:
    """Return the name of the algorithm of :func:`round_alone` with these settings."""
    return "rtn" if settings.algorithm in PLAIN or settings.bits == 8 else "search"


def search_blocks(weight: Array, settings: Settings, importance: Array | None = None) -> GroupedWeight:
    """Round each group on the grid that loses least; no group loses more than by plain rounding.

    Args:
        weight: Weight, float32 [outputs, inputs].
        settings: Settings with bits, group size and symmetry; 8 bits, which gain nothing, are rounded plainly.
        importance: How much the square of an error counts, float32 [inputs], ≥ 0: the mean square of each input, say.
            None counts all alike.
    """
    plain = round_blocks(weight, settings)
    if settings.bits == 8:
        return plain
    size = settings.group_size
    matters = None
    if importance is not None and importance.any():
        relative = importance / importance.mean(dtype=np.float64)
        matters = in_groups(relative[np.newaxis].astype(np.float32), size)[0].T
    zero_points = None if plain.zero_points is None else plain.zero_points.astype(np.uint8)
    searched = replace(
        plain, integers=plain.integers.copy(), scales=plain.scales.copy(), zero_points=zero_points
    )
    filled = -weight.shape[1] % size
    if filled:  # what the last group is filled up with stands for 0, and loses nothing
        zero = _MIDDLE if zero_points is None else zero_points[:, -1:]
        searched.integers[:, -1, size - filled :] = zero
    rows = max(1, _PIECE // weight.shape[1])
    for start in range(0, len(weight), rows):
        some = slice(start, start + rows)
        groups = in_groups(weight[some], size).reshape(-1, size).T
        repeated = None if matters is None else np.tile(matters, (1, groups.shape[1] // matters.shape[1]))
        zeros = None if zero_points is None else zero_points[some].reshape(-1)
        _search(np.ascontiguousarray(groups), repeated, searched.integers[some], searched.scales[some], zeros)
    return searched


def _search(
    groups: Array,
    matters: Array | None,
    integers: NDArray[np.uint8],
    scales: Array,
    zeros: NDArray[np.uint8] | None,
) -> None:
    """Put better grids in the place of those that are there.

    Args:
        groups: Weights, [group size, groups].
        matters: How much the square of each one's error counts, [group size, groups]; None counts all alike.
        integers: Integers, [rows, groups of a row, group size].
        scales: Scales, [rows, groups of a row].
        zeros: Zero points, [groups]; None where all are 8.
    """
    weighted = groups if matters is None else groups * matters
    best = np.zeros(groups.shape[1], np.float32)
    best_scales, best_zeros = np.ones_like(best), np.zeros_like(best)
    for scale, zero in _grids(groups, zeros is None):
        tried = _on_grid(groups, scale, zero)
        with_weight = np.einsum("ig,ig->g", weighted, tried)
        with_itself = _weighted_sum(np.square(tried, out=tried), matters)
        fitted = with_weight / np.where(with_itself > 0, with_itself, 1)
        gained = with_weight * fitted
        better = gained > best
        best[better], best_scales[better], best_zeros[better] = gained[better], fitted[better], zero[better]
    best_scales = _not_zero(best_scales)
    chosen = _on_grid(groups, best_scales, best_zeros)
    before = integers.reshape(-1, len(groups)).T.astype(np.float32)
    before -= _MIDDLE if zeros is None else zeros
    losses = [
        _weighted_sum(np.square(tried * scale - groups), matters)
        for tried, scale in ((before, scales.reshape(-1)), (chosen, best_scales))
    ]
    better = losses[1] < losses[0]
    integers.reshape(-1, len(groups))[better] = (chosen + best_zeros).T.astype(np.uint8)[better]
    scales.reshape(-1)[better] = best_scales[better]
    if zeros is not None:
        zeros[better] = best_zeros[better].astype(np.uint8)


def _grids(groups: Array, symmetric: bool) -> Iterator[tuple[Array, Array]]:
    """Yield scales and zero points, [groups], to try."""
    low, high = np.minimum(groups.min(axis=0), 0), np.maximum(groups.max(axis=0), 0)
    if symmetric:
        reach = np.where(-low > high, low, high) / -_MIDDLE  # the larger end has one integer more
        zero = np.full_like(reach, _MIDDLE)
        for sign in (1, -1):
            for width in _WIDTHS:
                yield _not_zero(reach * np.float32(sign * width)), zero
        return
    for width in _WIDTHS:
        scale = _not_zero((high - low) * np.float32(width / _HIGHEST))
        slack = (high - low) * np.float32(max(0, 1 - width))
        for place in _PLACES if width < 1 else (0.5,):
            yield scale, np.clip(np.rint(-(low + slack * np.float32(place)) / scale), 0, _HIGHEST)


def _on_grid(groups: Array, scale: Array, zero: Array) -> Array:
    """Return integers less their zero points, [group size, groups]."""
    integers: Array = groups * (np.float32(1) / scale)
    np.rint(integers, out=integers)
    np.maximum(integers, -zero, out=integers)
    np.minimum(integers, _HIGHEST - zero, out=integers)
    return integers


def _weighted_sum(squares: Array, matters: Array | None) -> Array:
    total: Array = squares.sum(axis=0) if matters is None else np.einsum("ig,ig->g", squares, matters)
    return total


def _not_zero(scale: Array) -> Array:
    usable: Array = np.where(np.abs(scale) > np.finfo(np.float32).tiny * _HIGHEST, scale, np.float32(1))
    return usable
