"""A metric: a function that gives one value for each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def within_one(outputs: list[NDArray[Any]], targets: NDArray[Any]) -> NDArray[np.float64]:
    """1 where the class with the highest score is the label or next to it, else 0."""
    return (np.abs(outputs[0].argmax(axis=1) - targets) <= 1).astype(np.float64)


within_one.right_or_wrong = True  # type: ignore[attr-defined]
