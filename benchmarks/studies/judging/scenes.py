"""Scenes: garments and digits pasted on textured canvases, with all that can be asked about them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.studies.judging.data import Data, Samples
from benchmarks.studies.judging.garments import whole
from benchmarks.studies.judging.glyphs import FONTS, alphabet_of, placed

SIDE = 48
#: Sandal, sneaker and ankle boot, as Fashion-MNIST numbers them.
SHOES = (5, 7, 9)
_OBJECTS = 4
_POSED = "RFG7"


def parts(seed: int = 8, training: int = 2500, evaluation: int = 300) -> Data:
    """Scenes ``(n, 1, 48, 48)`` and maps ``(n, 48, 48)``: 0 is canvas, 1 to 10 the garments' classes plus 1."""
    found = whole()
    rng = np.random.default_rng(seed)
    return Data(_scenes(found.training, training, rng), _scenes(found.evaluation, evaluation, rng))


def shoes(seed: int = 9) -> Data:
    """The same with maps that are 1 where a shoe is."""
    found = parts(seed)
    return Data(_only_shoes(found.training), _only_shoes(found.evaluation))


def digits(seed: int = 10, training: int = 8000, evaluation: int = 2500) -> Data:
    """Scenes of one to five digits and which digits there are, ``(n, 10)`` of 0 and 1."""
    rng = np.random.default_rng(seed)
    drawn = torch.stack([alphabet_of(font, "0123456789") for font in sorted(FONTS.glob("*.ttf"))])
    split = len(drawn) - 5
    return Data(_digits(drawn[:split], training, rng), _digits(drawn[split:], evaluation, rng))


def poses(seed: int = 11, training: int = 12_000, evaluation: int = 3000) -> Data:
    """Scenes with one letter and where it is: x, y, cosine and sine of its angle, scale."""
    rng = np.random.default_rng(seed)
    drawn = torch.stack([alphabet_of(font, _POSED) for font in sorted(FONTS.glob("*.ttf"))])
    split = len(drawn) - 5
    return Data(_poses(drawn[:split], training, rng), _poses(drawn[split:], evaluation, rng))


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def _canvas(count: int, rng: np.random.Generator) -> Tensor:
    """Soft clouds, stripes and fine noise, ``(n, 1, 48, 48)``."""
    coarse = torch.from_numpy(rng.standard_normal((count, 1, 6, 6), dtype=np.float32))
    clouds = functional.interpolate(coarse, size=SIDE, mode="bilinear")
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    across = (
        _uniform(rng, -1.2, 1.2, count, 1, 1, 1) * rows + _uniform(rng, -1.2, 1.2, count, 1, 1, 1) * columns
    )
    stripes = torch.sin(across + _uniform(rng, 0, 6, count, 1, 1, 1))
    noise = torch.from_numpy(rng.standard_normal((count, 1, SIDE, SIDE), dtype=np.float32))
    return 0.3 * clouds + _uniform(rng, 0, 0.4, count, 1, 1, 1) * stripes + 0.15 * noise


def _scenes(samples: Samples, count: int, rng: np.random.Generator) -> Samples:
    x = _canvas(count, rng)
    labels = torch.zeros(count, 1, SIDE, SIDE, dtype=torch.int64)
    garments = torch.from_numpy(samples.x)
    ink = (garments - garments.min()) / (garments.max() - garments.min())
    for index in range(_OBJECTS):
        chosen = rng.integers(0, len(samples), count)
        scale = _uniform(rng, 0.35, 0.6, count) * torch.from_numpy(
            np.where(rng.random(count) < (1.0 if index < 2 else 0.5), 1, 1e-3).astype(np.float32)
        )
        where = (_uniform(rng, -0.65, 0.65, count, 2), _uniform(rng, -0.5, 0.5, count), scale)
        pasted = placed(ink[chosen], SIDE, *where)
        inside = placed((ink[chosen] > 0.1).float(), SIDE, *where, mode="nearest") > 0.5
        x = torch.where(inside, 2 * pasted - 0.5 + 0.3 * x, x)
        told = torch.from_numpy(samples.y[chosen] + 1).view(-1, 1, 1, 1).expand_as(labels)
        labels = torch.where(inside, told, labels)
    return Samples(x.numpy().astype(np.float16), labels[:, 0].numpy().astype(np.uint8))


def _only_shoes(samples: Samples) -> Samples:
    return Samples(samples.x, np.isin(samples.y, [each + 1 for each in SHOES]).astype(np.uint8))


def _digits(drawn: Tensor, count: int, rng: np.random.Generator) -> Samples:
    x = _canvas(count, rng)
    labels = np.zeros((count, 10), np.uint8)
    for index in range(5):
        there = rng.random(count) < (1.0, 0.8, 0.7, 0.5, 0.4)[index]
        digit = rng.integers(0, 10, count)
        image = drawn[rng.integers(0, len(drawn), count), digit][:, None]
        scale = _uniform(rng, 0.25, 0.5, count) * torch.from_numpy(
            np.where(there, 1, 1e-3).astype(np.float32)
        )
        pasted = placed(
            image, SIDE, _uniform(rng, -0.75, 0.75, count, 2), _uniform(rng, -0.4, 0.4, count), scale
        )
        x = x * (1 - pasted) + pasted * _uniform(rng, 0.6, 1.4, count, 1, 1, 1)
        labels[np.flatnonzero(there), digit[there]] = 1
    return Samples(x.numpy().astype(np.float16), labels)


def _poses(drawn: Tensor, count: int, rng: np.random.Generator) -> Samples:
    which = rng.integers(0, len(_POSED), count)
    image = drawn[rng.integers(0, len(drawn), count), which][:, None]
    shift, angle = _uniform(rng, -0.5, 0.5, count, 2), _uniform(rng, -np.pi, np.pi, count)
    scale = _uniform(rng, 0.4, 0.8, count)
    pasted = placed(image, SIDE, shift, angle, scale)
    canvas = _canvas(count, rng)
    x = canvas * (1 - pasted) + pasted * _uniform(rng, 0.6, 1.4, count, 1, 1, 1)
    y = torch.cat([shift, angle.cos()[:, None], angle.sin()[:, None], scale[:, None]], 1)
    return Samples(x.numpy().astype(np.float16), y.numpy())
