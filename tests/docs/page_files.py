"""Small networks and data for the pages' commands: what a page calls ``model.pt2`` or ``val/`` is made here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

Maker = Callable[[Path], None]


def digits_of(directory: Path) -> None:
    """``demo/`` as `compress demo` leaves it but for the build, of a smaller network."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    x, y = torch.from_numpy(images[:1000]), torch.from_numpy(labels[:1000])
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(x[rows]), y[rows]))
            optimizer.step()
    demo = directory / "demo"
    demo.mkdir()
    np.savez(demo / "train.npz", x=images[:1000], y=labels[:1000])
    np.savez(demo / "val.npz", x=images[1000:1350], y=labels[1000:1350])
    _export(network.eval(), (torch.zeros(2, 1, 8, 8),), demo / "digits.pt2")


def images_of(directory: Path) -> None:
    """``model.pt2`` and ``val/``, a folder of class folders."""
    from PIL import Image

    shutil.copy(directory / "demo" / "digits.pt2", directory / "model.pt2")
    (directory / "val").mkdir()
    (directory / "val" / "compress-data.toml").write_text('mode = "L"\nscale = 240\n', encoding="utf-8")
    with np.load(directory / "demo" / "val.npz") as data:
        for at, (image, label) in enumerate(zip(data["x"][:80], data["y"][:80], strict=True)):
            folder = directory / "val" / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 240).astype(np.uint8)).save(folder / f"{at}.png")


def detector_of(directory: Path) -> None:
    """``detector.pt2`` finds bright squares; ``coco/`` has images of them and COCO's annotations."""
    from PIL import Image

    class Bright(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.brightness = nn.Conv2d(3, 1, 8, stride=8)
            nn.init.constant_(self.brightness.weight, 10 / 192)
            nn.init.constant_(self.brightness.bias, -5.0)
            corner = torch.arange(4) * 8.0
            y, x = torch.meshgrid(corner, corner, indexing="ij")
            self.register_buffer("cells", torch.stack([x, y, x + 8, y + 8], -1).view(1, 16, 4))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = self.brightness(image).flatten(2).transpose(1, 2)
            return self.cells.expand(image.shape[0], 16, 4) + 0 * scores, scores

    _export(Bright().eval(), (torch.zeros(2, 3, 32, 32),), directory / "detector.pt2")
    for folder in ("images", "annotations"):
        (directory / "coco" / folder).mkdir(parents=True)
    noise = np.random.default_rng(0)
    images, annotations = [], []
    for at in range(40):
        pixels = noise.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        column, row = noise.integers(0, 4, 2) * 8
        pixels[row : row + 8, column : column + 8] = 230
        Image.fromarray(pixels).save(directory / "coco" / "images" / f"{at}.png")
        images.append({"id": at, "file_name": f"{at}.png", "width": 32, "height": 32})
        box = [int(column), int(row), 8, 8]
        annotations.append(
            {"id": at, "image_id": at, "category_id": 1, "bbox": box, "area": 64, "iscrowd": 0}
        )
    categories = [{"id": 1, "name": "square"}]
    file = {"images": images, "annotations": annotations, "categories": categories}
    path = directory / "coco" / "annotations" / "instances_val.json"
    path.write_text(json.dumps(file), encoding="utf-8")


def encoder_of(directory: Path) -> None:
    """``encoder.pt2`` makes a vector of token numbers; ``texts.npz`` has texts without labels."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(200, 32)
            self.mix = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            tokens = self.mix(self.embedding(ids)) * mask[..., None]
            return nn.functional.normalize(tokens.sum(1) / mask.sum(1, keepdim=True), dim=-1)

    torch.manual_seed(0)
    example = (torch.zeros(2, 12, dtype=torch.int64), torch.ones(2, 12))
    _export(Encoder().eval(), example, directory / "encoder.pt2")
    noise = np.random.default_rng(0)
    ids = noise.integers(1, 200, (64, 12))
    mask = (np.arange(12) < noise.integers(4, 13, 64)[:, None]).astype(np.float32)
    np.savez(directory / "texts.npz", ids=ids * mask.astype(np.int64), mask=mask)


def decoder_of(directory: Path) -> None:
    """``my-model`` and ``my-t5``, of random weights; ``texts``, ``more-texts`` and ``pairs.jsonl``."""
    from tests.language.documents import sentences
    from tests.language.test_t5 import made
    from tests.language.tiny import tiny
    from tests.language.tokens import write_tokenizer

    write_tokenizer(tiny(directory / "my-model", hidden_size=64).path)
    write_tokenizer(made(directory / "my-t5").path)
    texts = sentences(60, seed=2)
    pairs = ({"input": text, "target": text[:20]} for text in texts)
    (directory / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    for folder, seed in (("texts", 0), ("more-texts", 3)):
        (directory / folder).mkdir()
        for number, text in enumerate(sentences(60, seed=seed)):
            (directory / folder / f"{number}.txt").write_text(text, encoding="utf-8")


def stream_of(directory: Path) -> None:
    """``denoiser.pt2`` takes a frame and a state; ``streams.npz`` has streams of frames."""

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(8, 16)
            self.gain = nn.Linear(16, 8)

        def forward(self, frame: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            after = self.cell(frame, h)
            return torch.sigmoid(self.gain(after)) * frame, after

    torch.manual_seed(0)
    _export(Denoiser().eval(), (torch.zeros(2, 8), torch.zeros(2, 16)), directory / "denoiser.pt2")
    frames = np.random.default_rng(0).random((40, 10, 8), dtype=np.float32)
    np.savez(directory / "streams.npz", frame=frames)


def unlabelled_of(directory: Path) -> None:
    """``unlabelled.npz``, the digits without their labels."""
    with np.load(directory / "demo" / "val.npz") as data:
        np.savez(directory / "unlabelled.npz", x=data["x"])


def _export(network: nn.Module, example: tuple[torch.Tensor, ...], path: Path) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, example, dynamic_shapes=tuple({0: batch} for _ in example))
    torch.export.save(program, path)


#: What a page's commands find besides ``demo/``, by the page.
FILES: dict[str, tuple[Maker, ...]] = {
    "README.md": (images_of,),
    "docs/index.md": (images_of,),
    "docs/howto/classifier-jetson.md": (images_of,),
    "docs/howto/detector.md": (detector_of,),
    "docs/howto/text-encoder.md": (encoder_of,),
    "docs/howto/language-models.md": (decoder_of,),
    "docs/howto/audio-state.md": (stream_of,),
    "docs/howto/no-labels.md": (unlabelled_of,),
    "docs/howto/own-data.md": (images_of,),
}
