"""Training that can be stopped after any epoch and goes on as if it had not been."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.studies.judging.data import Samples, as_input
from benchmarks.studies.judging.losses import Loss
from benchmarks.studies.judging.networks import Ended


@dataclass(frozen=True)
class Schedule:
    """Length and rate of a training: AdamW with a rate that rises over the first fifth and falls as a cosine.

    Attributes:
        epochs: Passes over the samples.
        rate: The highest learning rate.
        batch: Samples a step.
        weight_decay: Weight decay of matrices and kernels.
        bfloat16: Forward under bfloat16 autocast.
    """

    epochs: int
    rate: float = 3e-3
    batch: int = 128
    weight_decay: float = 0.02
    bfloat16: bool = True


class OutOfTimeError(Exception):
    """The time that was given is over; what is done is kept."""


@dataclass(frozen=True)
class Clock:
    """Until when to go on."""

    end: float

    def check(self) -> None:
        """Stop here where the time is over.

        Raises:
            OutOfTimeError: It is.
        """
        if time.monotonic() > self.end:
            raise OutOfTimeError


def train(
    make: Callable[[], Ended],
    samples: Samples,
    loss: Loss,
    augment: Callable[[Tensor], Tensor] | None,
    schedule: Schedule,
    directory: Path,
    clock: Clock,
    seed: int,
) -> Ended:
    """The trained network in evaluation mode; its state after each epoch lies in ``directory/epochs``.

    Raises:
        OutOfTimeError: The next epoch does not begin in time; call again to go on.
    """
    epochs = directory / "epochs"
    epochs.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = channels_last(make())
    optimizer = torch.optim.AdamW(_groups(network, schedule.weight_decay), lr=schedule.rate)
    done = 0
    resumable = directory / "training.pt"
    if (directory / "network.pt").exists():
        network.load_state_dict(torch.load(directory / "network.pt"))
        return _contiguous(network)
    if resumable.exists():
        state = torch.load(resumable)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["epoch"]
    steps = len(samples) // schedule.batch
    for epoch in range(done, schedule.epochs):
        clock.check()
        started = time.perf_counter()
        torch.manual_seed(1000 * seed + epoch)
        total = 0.0
        network.train()
        for step, rows in enumerate(
            torch.randperm(len(samples)).numpy()[: steps * schedule.batch].reshape(steps, -1)
        ):
            _set_rate(optimizer, schedule, (epoch * steps + step) / (schedule.epochs * steps))
            total += _step(
                network, optimizer, samples.x[rows], samples.y[rows], loss, augment, schedule.bfloat16
            )
        print(
            f"  epoch {epoch + 1}/{schedule.epochs}: loss {total / steps:.4f}, {time.perf_counter() - started:.1f} s",
            flush=True,
        )
        _save(network.state_dict(), epochs / f"{epoch + 1}.pt")
        _save(
            {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1},
            resumable,
        )
    _save(network.state_dict(), directory / "network.pt")
    resumable.unlink(missing_ok=True)
    return _contiguous(network)


def channels_last(network: Ended) -> Ended:
    """A copy that keeps planes of channels side by side, which convolutions run up to four times faster with."""
    copied = copy.deepcopy(network)
    copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return copied


def _contiguous(network: Ended) -> Ended:
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return network.eval()


def go_on(
    network: Ended,
    samples: Samples,
    loss: Loss,
    augment: Callable[[Tensor], Tensor] | None,
    schedule: Schedule,
    steps: int,
    seed: int,
) -> Ended:
    """Train a trained network, in place, by further steps at a tenth of its rate: another that is as good."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(_groups(network, schedule.weight_decay), lr=schedule.rate / 10)
    network.train()
    for _ in range(steps):
        rows = torch.randint(len(samples), (schedule.batch,)).numpy()
        _step(network, optimizer, samples.x[rows], samples.y[rows], loss, augment, schedule.bfloat16)
    return network.eval()


def _step(
    network: Ended,
    optimizer: torch.optim.Optimizer,
    x: object,
    y: object,
    loss: Loss,
    augment: Callable[[Tensor], Tensor] | None,
    bfloat16: bool,
) -> float:
    inputs = as_input(x)  # type: ignore[arg-type]
    targets = as_input(y)  # type: ignore[arg-type]
    if augment is not None:
        inputs = augment(inputs)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16), sdpa_kernel(SDPBackend.MATH):
        found = loss(network, inputs, targets)
    optimizer.zero_grad()
    torch.autograd.backward(found)
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return found.item()


def _groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    parameters = list(network.parameters())
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]


def _set_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, progress: float) -> None:
    rising = progress / 0.2
    share = rising if rising < 1 else 0.5 * (1 + math.cos(math.pi * (progress - 0.2) / 0.8))
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate * max(share, 1e-3)


def _save(state: object, path: Path) -> None:
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    torch.save(state, partial)
    partial.replace(path)
