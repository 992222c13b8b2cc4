"""scikit-learn's handwritten digits, and small networks trained on them: real data that is always at hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.network.network import Network, load_network

Digits = tuple[np.ndarray, np.ndarray]


def shuffled_digits() -> Digits:
    """1,797 images ``(n, 1, 8, 8)`` in [0, 1] and their labels, in an order that seed 0 makes."""
    found = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = (found.images[:, None] / 16).astype(np.float32)
    return images[order], found.target[order].astype(np.int64)


def trained(module: nn.Module, digits: Digits, *, samples: int, epochs: int) -> Network:
    """The module after so many passes over the first samples, a multiple of 50."""
    images, labels = (torch.from_numpy(each[:samples]) for each in digits)
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    for _ in range(epochs):
        for rows in torch.randperm(samples).view(-1, 50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[rows]), labels[rows]).backward()
            optimizer.step()
    return load_network(module.eval(), example=[digits[0][:4]])
