"""The network that this repository's own CI compresses and gates: small, and committed with its weights.

    python -m benchmarks run digits --build digits.onnx  # what compress makes of it today, in int8
    compress gate digits.onnx --baseline profiles/digits.cpu.json --data benchmarks.networks.digits:task \\
        --policy profiles/gate.toml
    python -m benchmarks run digits --train  # trains it again: profiles/digits.safetensors

It learned the first 1,000 of scikit-learn's handwritten digits; the last 797, by other writers, evaluate it. The
weights are committed since training gives others on another processor. The recipe is fixed since which build is fastest
depends on the machine. So what differs from one run of CI to the next is what compress makes of the same weights.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from compress.backends import load_backend
from compress.data.task import Task, load_task
from compress.network.network import load_network
from compress.recipe import Recipe, Step
from compress.target.target import load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context

Samples = tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.int64]]]

#: Weights of :func:`network`, as :func:`train` left them.
WEIGHTS = Path(__file__).resolve().parents[2] / "profiles" / "digits.safetensors"

_TRAINING = 1000
_WIDTH = 12


class Residual(nn.Module):
    """relu(x + two convolutions of x), float32 ``[n, channels, height, width]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels), nn.ReLU(), *_convolution(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return nn.functional.relu(x + self.body(x))


def network() -> nn.Module:
    """The untrained network: float32 ``[n, 1, 8, 8]`` in [0, 1] to scores ``[n, 10]``."""
    return nn.Sequential(
        *_convolution(1, _WIDTH),
        nn.ReLU(),
        Residual(_WIDTH),
        nn.MaxPool2d(2),
        *_convolution(_WIDTH, 2 * _WIDTH),
        nn.ReLU(),
        Residual(2 * _WIDTH),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * _WIDTH, 10),
    )


def training() -> Samples:
    """The 1,000 digits that it learned, images ``[1000, 1, 8, 8]`` and labels ``[1000]``."""
    images, labels = _digits()
    return images[:_TRAINING], labels[:_TRAINING]


def evaluation() -> Samples:
    """The 797 digits that it never saw."""
    images, labels = _digits()
    return images[_TRAINING:], labels[_TRAINING:]


def train(epochs: int = 20, seed: int = 0) -> nn.Module:
    """The trained network, in evaluation mode; one epoch takes a fraction of a second."""
    torch.manual_seed(seed)
    trained, (images, labels), batch = network(), training(), 50
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(trained.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-2, total_steps=epochs * (len(x) // batch)
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).view(-1, batch):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(trained(x[rows]), y[rows]))
            optimizer.step()
            schedule.step()
    return trained.eval()


def task() -> Task:
    """All 797 digits to evaluate on; calibration takes those that the network learned."""
    return load_task(evaluation(), train_data=training())


def build(path: Path) -> None:
    """Write the int8 build: loaded, lifted, exported, folded, calibrated and quantized as `compress optimize` does."""
    data, target = task(), load_target("cpu")
    loaded = load_network(WEIGHTS, example=data.example(), factory="benchmarks.networks.digits:network")
    recipe = Recipe("int8", (Step("quantize", {"scope": "all"}),))
    context = Context(data.bind(loaded.inputs, loaded.outputs), target, seed=0)
    quantized = apply_recipe(recipe, loaded, context).to_onnx()
    with tempfile.TemporaryDirectory() as directory:
        artifact = load_backend("onnxruntime").compile(quantized, Path(directory), {"intra_op_threads": 1})
        shutil.copyfile(artifact.path, path)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--build", type=Path, metavar="FILE", help="write the int8 build")
    action.add_argument("--train", action="store_true", help=f"train again and write {WEIGHTS.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.build is not None:
        build(arguments.build)
        return 0
    trained = train()
    safetensors.torch.save_file(trained.state_dict(), WEIGHTS)
    images, labels = evaluation()
    with torch.no_grad():
        right = trained(torch.from_numpy(images)).argmax(1).numpy() == labels
    print(f"{WEIGHTS}: {100 * right.mean():.2f} % of {len(labels)} digits, {WEIGHTS.stat().st_size} bytes")
    return 0


def _convolution(channels: int, filters: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters)


def _digits() -> Samples:
    digits = load_digits()
    return (digits.images[:, None] / 16).astype(np.float32), digits.target.astype(np.int64)


if __name__ == "__main__":
    sys.exit(main())
