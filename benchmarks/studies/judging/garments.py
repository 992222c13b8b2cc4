"""Images of Fashion-MNIST, as they are and made into harder tasks."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from benchmarks.data.fashion_mnist import load
from benchmarks.studies.judging.data import Array, Data, Samples

LEARNED, EVALUATED = 8000, 2500


def whole() -> Data:
    """8,000 of the training images to learn from; the first 2,500 of the test images are for the judge."""
    return Data(Samples(*load("train")).take(LEARNED), Samples(*load("t10k")).take(EVALUATED))


def few() -> Data:
    """1,000 to learn from, so that a network knows them by heart."""
    found = whole()
    return Data(found.training.take(1000), found.evaluation)


def spoilt(seed: int = 1) -> Data:
    """Blurred, shrunk in contrast, half covered and noisy: about every second one can still be told."""
    found = whole()
    rng = np.random.default_rng(seed)
    return Data(
        Samples(_spoil(found.training.x, rng), found.training.y),
        Samples(_spoil(found.evaluation.x, rng), found.evaluation.y),
    )


def pairs(seed: int = 2, count: int = 10_000) -> Data:
    """Two garments beside each other, ``(n, 1, 28, 56)``: 100 classes."""
    found = whole()
    rng = np.random.default_rng(seed)
    return Data(_paired(found.training, count, rng), _paired(found.evaluation, EVALUATED, rng))


def _paired(samples: Samples, count: int, rng: np.random.Generator) -> Samples:
    left, right = rng.integers(0, len(samples), (2, count))
    x = np.concatenate([samples.x[left], samples.x[right]], axis=3).astype(np.float16)
    return Samples(x, samples.y[left] * 10 + samples.y[right])


def _spoil(x: Array, rng: np.random.Generator) -> Array:
    blurred = functional.avg_pool2d(torch.from_numpy(x), 5, 1, 2).numpy()
    covered = blurred.copy()
    rows, columns = rng.integers(0, 14, (2, len(x)))
    for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
        covered[index, 0, row : row + 16, column : column + 16] = 0
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    return (covered * rng.uniform(0.3, 1.0, (len(x), 1, 1, 1)) + 1.2 * noise).astype(np.float16)
