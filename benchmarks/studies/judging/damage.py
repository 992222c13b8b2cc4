"""Networks made worse on purpose, by a little or by much, each in another way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.studies.judging.data import Array, as_input
from benchmarks.studies.judging.networks import Ended

#: From inputs to outputs.
Runs = Callable[[Tensor], Tensor]

_BATCH = 250


@dataclass(frozen=True)
class Damage:
    """One way to make a network worse.

    Attributes:
        name: Name of the build.
        family: Kind of the damage.
        level: How much of it, in the family's own measure.
        seed: Seed of what is random in it.
        make: The damaged form of a network, which is not touched.
    """

    name: str
    family: str
    level: float
    seed: int
    make: Callable[[Ended], Runs]


def run(runs: Runs, x: Array) -> Array:
    """Outputs for all samples, float32."""
    with torch.inference_mode():
        found = [runs(as_input(x[at : at + _BATCH])) for at in range(0, len(x), _BATCH)]
    outputs: Array = torch.cat(found).float().numpy()
    return outputs


def noise(level: float, seed: int) -> Damage:
    """Normal noise on every weight, ``level`` times the deviation of its tensor."""

    def make(network: Ended) -> Runs:
        return _with_weights(
            network, lambda w, random: w + level * w.std() * torch.randn(w.shape, generator=random), seed
        )

    return Damage(f"noise-{level:.4f}-{seed}", "noise", level, seed, make)


def rounding(bits: int, *, per_channel: bool) -> Damage:
    """Weights rounded to so many bits, with one scale a tensor or one an output channel."""

    def rounded(w: Tensor, random: torch.Generator) -> Tensor:
        rows = w.reshape(len(w), -1) if per_channel else w.reshape(1, -1)
        scale = (rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-12)
        found: Tensor = ((rows / scale).round() * scale).reshape(w.shape)
        return found

    told = "rounding-channels" if per_channel else "rounding"
    return Damage(f"{told}-{bits}", told, bits, 0, lambda network: _with_weights(network, rounded, 0))


def channels(count: int, seed: int) -> Damage:
    """So many output channels of hidden layers set to zero, drawn from all of them."""

    def make(network: Ended) -> Runs:
        damaged = copy.deepcopy(network)
        layers = _layers(damaged)[:-1]
        rng = np.random.default_rng(seed)
        for _ in range(count):
            layer: Any = layers[rng.integers(len(layers))]
            channel = int(rng.integers(len(layer.weight)))
            with torch.no_grad():
                layer.weight[channel] = 0
                if layer.bias is not None:
                    layer.bias[channel] = 0
        return damaged.eval()

    return Damage(f"channels-{count}-{seed}", "channels", count, seed, make)


def activations(place: float, level: float, seed: int) -> Damage:
    """Normal noise on what one layer gives, ``level`` times its deviation.

    Args:
        place: Which layer: 0 is the first, 1 the last.
        level: Deviation of the noise, as a multiple of that of the layer's outputs.
        seed: Seed of the noise; it is not the same from batch to batch.
    """

    def make(network: Ended) -> Runs:
        damaged = copy.deepcopy(network).eval()
        layers = _layers(damaged)
        random = torch.Generator().manual_seed(seed)

        def disturb(module: nn.Module, given: object, y: Tensor) -> Tensor:
            return y + level * y.std() * torch.randn(y.shape, generator=random)

        layers[round(place * (len(layers) - 1))].register_forward_hook(disturb)
        return damaged

    return Damage(f"activations{place:g}-{level:.4f}-{seed}", f"activations{place:g}", level, seed, make)


def shifted(axis: int, index: int, level: float) -> Damage:
    """One class's scores moved up, by ``level`` times the deviation of all scores over samples."""
    name = f"shift-{index}-{level:g}"
    return Damage(name, "shift", level, index, lambda network: _shift(network, axis, index, level))


def lost(axis: int, index: int) -> Damage:
    """One class that never wins."""
    return Damage(f"lost-{index}", "lost", 1, index, lambda network: _shift(network, axis, index, -50.0))


def scaled(level: float) -> Damage:
    """All scores times ``level``: another temperature."""
    return Damage(
        f"temperature-{level:g}",
        "temperature",
        level,
        0,
        lambda network: lambda x: network.end(level * network.body(x)),
    )


def offset(level: float) -> Damage:
    """``level`` added to all scores alike."""
    return Damage(
        f"offset-{level:g}",
        "offset",
        level,
        0,
        lambda network: lambda x: network.end(level + network.body(x)),
    )


def turned(seed: int) -> Damage:
    """Vectors in another basis: distances among them stay what they were."""

    def make(network: Ended) -> Runs:
        def runs(x: Tensor) -> Tensor:
            vectors = network(x)
            random = torch.Generator().manual_seed(seed)
            basis = torch.linalg.qr(torch.randn(vectors.shape[1], vectors.shape[1], generator=random)).Q
            found: Tensor = vectors @ basis
            return found

        return runs

    return Damage(f"turned-{seed}", "turned", 1, seed, make)


def earlier(epoch: int, states: Path) -> Damage:
    """The network as it was after an earlier epoch of its training."""

    def make(network: Ended) -> Runs:
        damaged = copy.deepcopy(network)
        damaged.load_state_dict(torch.load(states / f"{epoch}.pt"))
        return damaged.eval()

    return Damage(f"epoch-{epoch}", "epoch", epoch, 0, make)


def _layers(network: nn.Module) -> list[nn.Module]:
    """Convolutions and matrices, in the order in which they were made; a GRU's are not among them."""
    return [each for each in network.modules() if isinstance(each, nn.Conv1d | nn.Conv2d | nn.Linear)]


def _with_weights(network: Ended, change: Callable[[Tensor, torch.Generator], Tensor], seed: int) -> Ended:
    damaged = copy.deepcopy(network)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in damaged.named_parameters():
            if weights.ndim > 1 and "position" not in name:
                weights.copy_(change(weights, random))
    return damaged.eval()


def _shift(network: Ended, axis: int, index: int, level: float) -> Runs:
    def runs(x: Tensor) -> Tensor:
        scores = network.body(x).clone()
        scores.select(axis, index).add_(level * scores.std())
        return network.end(scores)

    return runs
