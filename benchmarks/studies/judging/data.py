"""Samples that a network learns from and samples that it is judged on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Samples:
    """Inputs ``(n, …)``, stored small (float16, uint8) where that loses nothing that matters, and labels ``(n, …)``."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.x)

    def take(self, count: int) -> Samples:
        """The first ``count``."""
        return Samples(self.x[:count], self.y[:count])


@dataclass(frozen=True)
class Data:
    """Two sets of samples that have none in common."""

    training: Samples
    evaluation: Samples


def as_input(x: Array) -> torch.Tensor:
    """Return samples as networks take them: float32, or int64 for bytes and tokens."""
    return torch.from_numpy(np.ascontiguousarray(x)).to(torch.float32 if x.dtype.kind == "f" else torch.int64)


def kept(path: Path, make: Callable[[], Data]) -> Data:
    """Return the data that ``make`` makes, read from ``path`` where it was made before."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        with partial.open("wb") as file:
            np.savez(
                file,
                x=made.training.x,
                y=made.training.y,
                evaluation_x=made.evaluation.x,
                evaluation_y=made.evaluation.y,
            )
        partial.replace(path)
    with np.load(path) as arrays:
        return Data(
            Samples(arrays["x"], arrays["y"]), Samples(arrays["evaluation_x"], arrays["evaluation_y"])
        )
