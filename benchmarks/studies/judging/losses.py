"""Losses that the networks are trained by. Each takes the network, a batch of inputs, labels, and gives one number."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.studies.judging import tones
from benchmarks.studies.judging.networks import Ended

Loss = Callable[[Ended, Tensor, Tensor], Tensor]


def classes(smoothing: float = 0.0, mixup: float = 0.0, scale: float = 1.0, axis: int = 1) -> Loss:
    """Cross entropy of class scores.

    Args:
        smoothing: Smoothing of the labels.
        mixup: Parameter of the Beta distribution that two samples are mixed by (arXiv 1710.09412); 0 mixes none.
        scale: Factor of scores in training alone.
        axis: Axis of the classes.
    """
    return partial(_classes, smoothing, mixup, scale, axis)


def _classes(
    smoothing: float, mixup: float, scale: float, axis: int, network: Ended, x: Tensor, y: Tensor
) -> Tensor:
    if not mixup:
        scores = (scale * network.body(x)).float().movedim(axis, 1)
        return functional.cross_entropy(scores, y, label_smoothing=smoothing)
    share = float(torch.distributions.Beta(mixup, mixup).sample())
    order = torch.randperm(len(x))
    scores = (scale * network.body(share * x + (1 - share) * x[order])).float()
    first, second = (
        functional.cross_entropy(scores, each, label_smoothing=smoothing) for each in (y, y[order])
    )
    return share * first + (1 - share) * second


def sigmoids(network: Ended, x: Tensor, y: Tensor) -> Tensor:
    """Binary cross entropy of each output; maps have one channel."""
    scores = network.body(x).float()
    return functional.binary_cross_entropy_with_logits(scores, y.float().view_as(scores))


def pitch_bins(network: Ended, x: Tensor, y: Tensor) -> Tensor:
    """Binary cross entropy of CREPE's bins."""
    wanted = torch.from_numpy(tones.bumps(y.numpy()))
    return functional.binary_cross_entropy_with_logits(network.body(x).float(), wanted)


def values(network: Ended, x: Tensor, y: Tensor) -> Tensor:
    """A smooth absolute error."""
    return functional.smooth_l1_loss(network.body(x).float(), y, beta=0.1)


def views(network: Ended, x: Tensor, y: Tensor) -> Tensor:
    """Two views of each image find each other among all (NT-Xent, arXiv 2002.05709); labels are not looked at."""
    vectors = network.body(torch.cat([_view(x), _view(x)])).float()
    likeness = vectors @ vectors.T / 0.2
    likeness.fill_diagonal_(-1e4)
    count = len(x)
    return functional.cross_entropy(likeness, torch.arange(2 * count).roll(count))


def alike(network: Ended, x: Tensor, y: Tensor) -> Tensor:
    """Two views of each image find all of their class by their cosines (arXiv 2004.11362); for unit vectors."""
    vectors = network.body(torch.cat([_view(x), _view(x)])).float()
    return _reached(vectors @ vectors.T / 0.1, torch.cat([y, y]))


def neighbours(network: Ended, x: Tensor, y: Tensor) -> Tensor:
    """Samples of one class are nearer to each other than to others, by plain distance (soft nearest neighbours)."""
    vectors = network.body(x).float()
    distances = (vectors**2).sum(1)[:, None] + (vectors**2).sum(1)[None] - 2 * vectors @ vectors.T
    loss: Tensor = _reached(-distances / vectors.shape[1], y) + 1e-3 * (vectors**2).mean()
    return loss


def _reached(closeness: Tensor, y: Tensor) -> Tensor:
    """Return the mean distance of each sample's own class from having all the closeness."""
    itself = torch.eye(len(y), dtype=torch.bool)
    closeness = closeness.masked_fill(itself, -1e4)
    same = (y[:, None] == y[None]) & ~itself
    reached = torch.logsumexp(closeness.masked_fill(~same, -1e4), 1) - torch.logsumexp(closeness, 1)
    return -reached[same.any(1)].mean()


def shifted(x: Tensor, pixels: int = 2, *, flip: bool = True) -> Tensor:
    """Images moved by up to ``pixels`` and half of them mirrored; one shift for a batch, mirroring for each."""
    down, right = (int(each) for each in torch.randint(-pixels, pixels + 1, (2,)))
    moved = functional.pad(x, (pixels,) * 4, mode="replicate")
    height, width = x.shape[-2:]
    moved = moved[..., pixels + down : pixels + down + height, pixels + right : pixels + right + width]
    if not flip:
        return moved
    mirrored = (torch.rand(len(x)) < 0.5).view(-1, 1, 1, 1)
    return torch.where(mirrored, moved.flip(-1), moved)


def _view(x: Tensor) -> Tensor:
    """Mirrored, cut out, turned a little, brighter or darker, noisy."""
    count = len(x)
    scale, angle = torch.empty(count).uniform_(0.6, 1.0), torch.empty(count).uniform_(-0.3, 0.3)
    sign = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    shift = torch.empty(count, 2).uniform_(-1, 1) * (1 - scale)[:, None]
    rows = [sign * scale * angle.cos(), -scale * angle.sin(), shift[:, 0]]
    rows += [sign * scale * angle.sin(), scale * angle.cos(), shift[:, 1]]
    theta = torch.stack(rows, 1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    seen = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    bright = torch.empty(count, 1, 1, 1).uniform_(0.6, 1.4)
    return seen * bright + 0.1 * torch.randn_like(seen)
