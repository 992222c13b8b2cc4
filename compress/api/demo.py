"""The demonstration: a small residual network that learns scikit-learn's handwritten digits in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.files import written_safely
from compress.core.installation import install_command
from compress.errors import UnavailableError

if TYPE_CHECKING:
    import torch

    from compress.core.progress import Reporter

Array = np.ndarray[Any, Any]

_WIDTH = 96
_TRAINING = 1000


@dataclass(frozen=True)
class Demo:
    """Files of the demonstration.

    Attributes:
        network: File of the trained network, as torch.export saves it.
        training: ``.npz`` file with the 1,000 digits that the network learned from.
        evaluation: ``.npz`` file with the 797 digits that the network never saw.
    """

    network: Path
    training: Path
    evaluation: Path


def prepare_demo(directory: Path, reporter: Reporter, epochs: int = 8, seed: int = 0) -> Demo:
    """Train the network and write it and its data.

    Args:
        directory: Directory that receives the three files.
        reporter: Receives the progress.
        epochs: Number of passes over the 1,000 training digits, ≥ 1.
        seed: Seed of the weights, the split and the order of samples.

    Raises:
        UnavailableError: scikit-learn is not installed.
        OutputError: The directory cannot be written.
    """
    import torch

    images, labels = _digits()
    order = np.random.default_rng(seed).permutation(len(labels))
    training, evaluation = order[:_TRAINING], order[_TRAINING:]
    demo = Demo(directory / "digits.pt2", directory / "train.npz", directory / "val.npz")
    with written_safely(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for path, rows in ((demo.training, training), (demo.evaluation, evaluation)):
            np.savez_compressed(path, x=images[rows], y=labels[rows])
        network = _train(images[training], labels[training], epochs, seed, reporter)
        batch = torch.export.Dim("batch")
        program = torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},))
        torch.export.save(program, demo.network)
    return demo


def _digits() -> tuple[Array, Array]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UnavailableError(
            "scikit-learn, which holds the digits", "no such package", install_command("demo")
        ) from error
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    return images, digits.target.astype(np.int64)


def _train(
    images: Array,
    labels: Array,
    epochs: int,
    seed: int,
    reporter: Reporter,
) -> torch.nn.Module:
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu(x + self.body(x))

    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, _WIDTH, 3, padding=1, bias=False),
        nn.BatchNorm2d(_WIDTH),
        nn.ReLU(),
        Residual(_WIDTH),
        nn.MaxPool2d(2),
        Residual(_WIDTH),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(_WIDTH, 10),
    )
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    batch = 50
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=epochs * (len(x) // batch)
    )
    order = torch.Generator().manual_seed(seed)
    reporter.stage("training a network on 1,000 handwritten digits")
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order).view(-1, batch):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(x[rows]), y[rows]))
            optimizer.step()
            schedule.step()
    return network.eval()
