"""Check that a build gives the same outputs as the original, apart from rounding.

A build of the same network in float32 for another runtime adds up the same numbers in another order. An interval from
a few samples cannot show that such a build loses less than a point: 50 samples of which none changes leave 6 points
open. Its numbers can: where every output of every sample is the original's within rounding, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: Largest difference that counts as rounding in float32, as a share of the output's largest value. Half precision and
#: the shortened products of graphics processors (TF32) differ by more.
MOST = 1e-4


class Rounding:
    """Largest difference of a build's outputs from the original's, over all compared batches.

    Attributes:
        largest: The largest difference of any output, as a share of its largest value in that batch; infinite where
            shapes, integers or what is not a number differ.
    """

    def __init__(self) -> None:
        self.largest = 0.0

    def add(self, outputs: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Compare one batch.

        Args:
            outputs: Outputs of the build, an array ``(n, …)`` each.
            wanted: Outputs of the original.
        """
        for output, right in zip(outputs, wanted, strict=True):
            self.largest = max(self.largest, _distance(output, right))

    @property
    def shown(self) -> float | None:
        """Return the largest difference, where it is rounding; None where it is more."""
        return self.largest if self.largest <= MOST else None


def _distance(output: Array, expected: Array) -> float:
    if output.shape != expected.shape:
        return float("inf")
    if output.dtype.kind != "f" or expected.dtype.kind != "f":
        return 0.0 if np.array_equal(output, expected) else float("inf")
    finite = np.isfinite(expected)
    if not np.array_equal(output[~finite], expected[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    ours, right = output[finite].astype(np.float64), expected[finite].astype(np.float64)
    furthest = float(np.abs(ours - right).max())  # infinite or not a number where ours is
    if not np.isfinite(furthest):
        return float("inf")
    return (
        0.0 if furthest == 0 else furthest / max(float(np.abs(right).max()), float(np.finfo(np.float32).tiny))
    )
