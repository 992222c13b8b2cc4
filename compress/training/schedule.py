"""The learning rate over a training: a linear warm-up, then half a cosine down to zero.

Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts.
"""

from __future__ import annotations

import math


def cosine(step: int, steps: int, warm_up: int) -> float:
    """Return the share of the peak learning rate at a step, in (0, 1].

    Args:
        step: Number of the step, from 0 to ``steps`` - 1.
        steps: Number of steps of the whole training.
        warm_up: Number of steps until the peak, below ``steps``.
    """
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))
