"""The network and data of the examples: scikit-learn's handwritten digits, and a small convolutional network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


def save_data(directory: Path) -> tuple[Path, Path]:
    """Write ``train.npz`` (1,000 digits) and ``val.npz`` (797 others), and return their paths."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)  # [samples, 1, 8, 8], from 0 to 1
    labels = digits.target.astype(np.int64)
    training, evaluation = directory / "train.npz", directory / "val.npz"
    np.savez(training, x=images[:1000], y=labels[:1000])
    np.savez(evaluation, x=images[1000:], y=labels[1000:])
    return training, evaluation


def trained(training: Path, epochs: int = 8) -> nn.Module:
    """A network that was trained for a few seconds, in inference mode."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    data = np.load(training)
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(x[rows]), y[rows]))
            optimizer.step()
    return network.eval()


def save_network(network: nn.Module, path: Path) -> Path:
    """Write the network with torch.export, for any number of images at a time."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


if __name__ == "__main__":
    where = Path.cwd()
    save_network(trained(save_data(where)[0]), where / "digits.pt2")
