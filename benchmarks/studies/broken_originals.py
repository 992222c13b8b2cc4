"""Five originals broken on purpose, and what is said of each: ``python -m benchmarks run broken_originals``.

A small network learns which of ten colours an image has, on pixels with ImageNet's mean and std. It is then given data
that is prepared or labelled as people get it wrong: without mean and std, with the colours in the other order, with
class folders in the order of the alphabet, with labels that begin at 1, and with one-hot labels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.api.inputs import open_inputs
from compress.api.options import InputOptions
from compress.core.progress import Reporter
from compress.errors import CompressError

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
CLASSES, SAMPLES, SIDE = 10, 300, 16


def images(seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return noisy images of ten colours, ``(n, 3, 16, 16)`` in [0, 1], and the number of each colour, ``(n,)``."""
    random = np.random.default_rng(seed)
    colours = np.random.default_rng(7).uniform(0.1, 0.9, (CLASSES, 3)).astype(np.float32)
    labels = random.integers(0, CLASSES, SAMPLES)
    noise = 0.1 * random.standard_normal((SAMPLES, 3, SIDE, SIDE))
    pixels = np.clip(colours[labels][:, :, None, None] + noise, 0, 1)
    return pixels.astype(np.float32), labels


def network() -> nn.Module:
    """Train the network on pixels with ImageNet's mean and std."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 32, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)
    )
    pixels, labels = images(seed=1)
    x, y = torch.from_numpy((pixels - MEAN) / STD), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(made.parameters(), 0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(made(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return made.eval()


def folders(place: Path) -> Path:
    """Write the images into the folders 1 to 10, which lie in the order 1, 10, 2, … of the alphabet."""
    from PIL import Image

    pixels, labels = images()
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        folder = place / str(label + 1)
        folder.mkdir(parents=True, exist_ok=True)
        values = np.round(255 * image.transpose(1, 2, 0)).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{index}.png")
    mean, std = ([round(float(each), 3) for each in values.ravel()] for values in (MEAN, STD))
    (place / "compress-data.toml").write_text(f"mean = {mean}\nstd = {std}\n")
    return place


def cases(place: Path) -> dict[str, Any]:
    """Return the data of each case by its name, the right one first.

    Args:
        place: Directory for the class folders.
    """
    pixels, labels = images()
    x = (pixels - MEAN) / STD
    return {
        "as in training": {"x": x, "y": labels},
        "no normalisation": {"x": pixels, "y": labels},
        "BGR": {"x": np.ascontiguousarray(x[:, ::-1]), "y": labels},
        "folder order": folders(place / "val"),
        "labels from 1": {"x": x[labels < CLASSES - 1], "y": labels[labels < CLASSES - 1] + 1},
        "one-hot": {"x": x, "y": np.eye(CLASSES)[labels]},
    }


def said(model: nn.Module, data: Any) -> str:
    """Return what is said of a network on some data: a warning, an error, or nothing.

    Args:
        model: The network.
        data: The data, as ``compress.optimize`` takes it.
    """
    try:
        found = open_inputs(model, InputOptions(data=data), Reporter()).doubts
    except CompressError as error:
        return f"error: {error}"
    return "; ".join(f"warning: {each}" for each in found)


def main(show: Callable[[str], None] = print) -> None:
    """Print what is said of each case."""
    model = network()
    with tempfile.TemporaryDirectory() as place:
        for name, data in cases(Path(place)).items():
            show(f"{name}: {said(model, data) or 'nothing'}")


if __name__ == "__main__":
    main()
