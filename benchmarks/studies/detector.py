"""A small detector, trained here on synthetic scenes, and what `compress optimize` makes of it by `--metric map`.

    apt-get install dataset-fashion-mnist
    python -m benchmarks run detector  # scenes, training, optimize: about ten minutes on two cores
    python -m benchmarks run detector --only optimize # again on what is there
    compress optimize references/detector/detector.pt2 --data references/detector/val --metric map   # the same by hand

A scene is 128×96 pixels: up to five garments of Fashion-MNIST, of five kinds, at random sizes and colours on a textured
ground. `val` is written as COCO stores boxes, `train` as YOLO does, each with its `compress-data.toml`; scenes are
letterboxed into the 96×96 pixels that the network takes. The network has one stage and no anchors (after FCOS: Tian et
al., ICCV 2019): at every eighth pixel five scores and the distances to a box's four sides. Its outputs are boxes
[n, 144, 4] in pixels and scores [n, 144, 5]; overlaps are suppressed outside, the same for the original and each build.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import results
from benchmarks.data import fashion_mnist
from compress import optimize
from compress.cli.terminal import TerminalReporter
from compress.data import open_data

GARMENTS = {1: "trouser", 3: "dress", 5: "sandal", 8: "bag", 9: "ankle boot"}
SCENE, INPUT, STRIDE = (96, 128), 96, 8
CELLS = INPUT // STRIDE

_OPTIONS = f"""size = [{INPUT}, {INPUT}]
resize = "letterbox"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""

Array = np.ndarray[Any, Any]


class Scene:
    """One picture, uint8 ``(96, 128, 3)``, and its objects: corners in pixels and kind, ``(k, 5)``."""

    def __init__(self, random: np.random.Generator, garments: Array, kinds: Array) -> None:
        self.pixels, boxes, taken = _ground(random), [], np.zeros(SCENE, bool)
        for _ in range(int(random.integers(1, 6))):
            chosen, side = int(random.integers(len(garments))), int(random.integers(18, 52))
            garment = np.asarray(
                Image.fromarray(garments[chosen]).resize((side, side), Image.Resampling.BILINEAR)
            )
            rows, columns = (np.flatnonzero((garment > 40).any(axis=axis)) for axis in (1, 0))
            top, left = (int(random.integers(0, length - side + 1)) for length in SCENE)
            y, x = top + rows[[0, -1]] + [0, 1], left + columns[[0, -1]] + [0, 1]
            if taken[y[0] : y[1], x[0] : x[1]].mean() > 0.2:
                continue
            taken[y[0] : y[1], x[0] : x[1]] = True
            cover = np.clip(garment[:, :, None] / 80, 0, 1)
            coloured = garment[:, :, None] * random.uniform(0.5, 1, 3)
            part = self.pixels[top : top + side, left : left + side]
            part[:] = cover * coloured + (1 - cover) * part
            boxes.append([x[0], y[0], x[1], y[1], list(GARMENTS).index(int(kinds[chosen]))])
        self.boxes = np.array(boxes, dtype=np.float64).reshape(-1, 5)


def scenes(count: int, split: str, seed: int) -> list[Scene]:
    """Scenes with garments of one split of Fashion-MNIST, which the other split never shows."""
    images, labels = fashion_mnist.load(split)
    of_kind = np.isin(labels, list(GARMENTS))
    scaled = images[of_kind, 0] * fashion_mnist.STANDARD_DEVIATION + fashion_mnist.MEAN
    garments = np.clip(np.round(scaled * 255), 0, 255).astype(np.uint8)
    random = np.random.default_rng(seed)
    return [Scene(random, garments, labels[of_kind]) for _ in range(count)]


def write_coco(folder: Path, given: list[Scene]) -> None:
    """A folder with ``images`` and ``annotations/instances.json``."""
    annotations = [
        {
            "id": place,
            "image_id": number,
            "category_id": 10 * (1 + int(box[4])),  # ids with gaps, as COCO's
            "bbox": [*box[:2].tolist(), *(box[2:4] - box[:2]).tolist()],
            "area": float((box[2:4] - box[:2]).prod()),
            "iscrowd": 0,
        }
        for place, (number, box) in enumerate(
            (number, box) for number, each in enumerate(given) for box in each.boxes
        )
    ]
    content = {
        "images": [
            {"id": number, "file_name": f"{number:05}.png", "width": SCENE[1], "height": SCENE[0]}
            for number in range(len(given))
        ],
        "categories": [
            {"id": 10 * (1 + number), "name": name} for number, name in enumerate(GARMENTS.values())
        ],
        "annotations": annotations,
    }
    _write_images(folder, given)
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations/instances.json").write_text(json.dumps(content))


def write_yolo(folder: Path, given: list[Scene]) -> None:
    """A folder with ``images``, ``labels`` and ``data.yaml``."""
    _write_images(folder, given)
    (folder / "labels").mkdir(exist_ok=True)
    for number, each in enumerate(given):
        shares = each.boxes[:, :4] / [SCENE[1], SCENE[0], SCENE[1], SCENE[0]]
        centre, sides = (shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]
        lines = [
            f"{int(kind)} {' '.join(f'{share:.6f}' for share in numbers)}\n"
            for kind, numbers in zip(each.boxes[:, 4], np.hstack([centre, sides]), strict=True)
        ]
        (folder / f"labels/{number:05}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text(f"names: [{', '.join(GARMENTS.values())}]\n")


class Detector(nn.Module):
    """Boxes ``[n, 144, 4]``, x1, y1, x2, y2 in pixels, and scores ``[n, 144, 5]`` of pictures ``[n, 3, 96, 96]``."""

    centres: Tensor

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *_convolution(3, width // 2, 2),
            *_convolution(width // 2, width, 2),
            Residual(width),
            *_convolution(width, 2 * width, 2),
            *(Residual(2 * width) for _ in range(3)),
        )
        self.kinds = nn.Sequential(
            *_convolution(2 * width, 2 * width), nn.Conv2d(2 * width, len(GARMENTS), 1)
        )
        self.sides = nn.Sequential(*_convolution(2 * width, 2 * width), nn.Conv2d(2 * width, 4, 1))
        nn.init.constant_(self.kinds[-1].bias, -4.6)  # type: ignore[arg-type]  # at first, 1 of 100 is an object
        axis = (torch.arange(CELLS) + 0.5) * STRIDE
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("centres", torch.stack([x, y], dim=-1).reshape(1, -1, 2))

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes, and scores before the sigmoid."""
        features = self.backbone(images)
        kinds = self.kinds(features).flatten(2).transpose(1, 2)
        sides = functional.softplus(self.sides(features)).flatten(2).transpose(1, 2) * STRIDE
        return torch.cat([self.centres - sides[..., :2], self.centres + sides[..., 2:]], dim=-1), kinds

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        boxes, kinds = self.raw(images)
        return boxes, torch.sigmoid(kinds)


class Residual(nn.Module):
    """relu(x + two convolutions of x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels)[:2])

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return functional.relu(x + self.body(x))


def wanted(boxes: Array) -> tuple[Array, Array]:
    """Return the answers for a picture's places: the kind, -1 for none, int64 ``(144,)``, and the box ``(144, 4)``.

    A place belongs to the smallest object in whose middle half it lies.
    """
    axis = (np.arange(CELLS) + 0.5) * STRIDE
    places = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    kinds, targets = np.full(len(places), -1), np.zeros((len(places), 4))
    for box in boxes[np.argsort(-(boxes[:, 2:4] - boxes[:, :2]).prod(axis=1))]:
        middle, half = (box[:2] + box[2:4]) / 2, np.maximum((box[2:4] - box[:2]) / 4, STRIDE / 2)
        inside = (np.abs(places - middle) <= half).all(axis=1)
        kinds[inside], targets[inside] = int(box[4]), box[:4]
    return kinds, targets


def loss_of(model: Detector, images: Tensor, kinds: Tensor, boxes: Tensor) -> Tensor:
    """Focal loss of the kinds (Lin et al. 2017), and 1 - intersection over union of the boxes where an object is."""
    found, scores = model.raw(images)
    true = functional.one_hot(kinds.clamp(min=0), len(GARMENTS)) * (kinds >= 0)[..., None]
    share = torch.sigmoid(scores)
    entropy = functional.binary_cross_entropy_with_logits(scores, true.float(), reduction="none")
    hard = torch.where(true > 0, 0.25 * (1 - share) ** 2, 0.75 * share**2)
    here = kinds >= 0
    ours, theirs = found[here], boxes[here]
    common = (
        (torch.minimum(ours[:, 2:], theirs[:, 2:]) - torch.maximum(ours[:, :2], theirs[:, :2]))
        .clamp(min=0)
        .prod(1)
    )
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (ours, theirs)]
    overlap = common / (areas[0] + areas[1] - common)
    return ((hard * entropy).sum() + (1 - overlap).sum()) / here.sum().clamp(min=1)


def train(folder: Path, epochs: int, seed: int = 0) -> Detector:
    """The trained detector, from the folder of training scenes as `compress` reads it."""
    torch.manual_seed(seed)
    images, kinds, boxes = [], [], []
    for batch in open_data(folder).batches(256):
        images.append(torch.from_numpy(batch.inputs["x"]))
        assert batch.targets is not None
        pairs = [wanted(each) for each in batch.targets]
        kinds.append(torch.from_numpy(np.stack([kind for kind, _ in pairs])))
        boxes.append(torch.from_numpy(np.stack([box for _, box in pairs]).astype(np.float32)))
    x, k, b = torch.cat(images), torch.cat(kinds), torch.cat(boxes)
    model, size = Detector(), 64
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    steps = len(x) // size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=epochs * steps)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x))[: steps * size].view(-1, size):
            optimizer.zero_grad()
            loss = loss_of(model, x[rows], k[rows], b[rows])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += float(loss)
        print(f"epoch {epoch + 1} of {epochs}: loss {total / steps:.3f}", flush=True)
    return model.eval()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("train", "optimize"), help="one of the two steps")
    parser.add_argument("--out", type=Path, default=Path("references/detector"))
    parser.add_argument("--scenes", type=int, default=4000, help="to train on; 1,000 more evaluate")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument(
        "--max-drop", type=float, default=2.0, help="percent of the original's mean average precision"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing per build and batch size")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    out = arguments.out
    if arguments.only != "optimize":
        write_yolo(out / "train", scenes(arguments.scenes, "train", seed=0))
        write_coco(out / "val", scenes(1000, "t10k", seed=1))
        model = train(out / "train", arguments.epochs)
        batch = torch.export.Dim("batch", min=1, max=1024)
        example = (torch.zeros(2, 3, INPUT, INPUT),)
        torch.export.save(
            torch.export.export(model, example, dynamic_shapes=({0: batch},)), out / "detector.pt2"
        )
    if arguments.only != "train":
        result = optimize(
            out / "detector.pt2",
            data=out / "val",
            calibration_data=out / "train",
            metric="map",
            max_drop=arguments.max_drop,
            seconds=arguments.seconds,
            out=out / "build",
            reporter=TerminalReporter(Console()),
        )
        rows = []
        for candidate in result.candidates:
            if candidate.profile is not None and candidate.profile.accuracy is not None:
                accuracy = candidate.profile.accuracy
                drop = accuracy.drop
                told = (
                    "" if drop is None else f", drop {drop.points:.2f} % (at most {drop.interval.high:.2f} %)"
                )
                shipped = " <- shipped" if candidate is result.choice.candidate else ""
                print(f"{candidate.recipe.name}: {accuracy.metric} {accuracy.mean:.4f}{told}{shipped}")
                rows.append(
                    {
                        "build": candidate.recipe.name + (", shipped" if shipped else ""),
                        "map": accuracy.mean,
                        "drop_percent": None if drop is None else drop.points,
                        "drop_at_most_percent": None if drop is None else drop.interval.high,
                        "time_over_fp32": candidate.profile.latency[0].ratio or 1.0,
                    }
                )
        results.record("builds", rows)
    return 0


def _convolution(channels: int, filters: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(filters), nn.ReLU()


def _ground(random: np.random.Generator) -> Array:
    """A texture: coarse and fine noise in one colour."""
    coarse = Image.fromarray(random.integers(0, 255, (6, 8), dtype=np.uint8)).resize(
        (SCENE[1], SCENE[0]), Image.Resampling.BICUBIC
    )
    noise = np.asarray(coarse) * 0.4 + random.normal(0, 12, SCENE) + random.uniform(0, 80)
    return np.clip(noise[:, :, None] * random.uniform(0.4, 1, 3), 0, 255).astype(np.uint8)


def _write_images(folder: Path, given: list[Scene]) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "compress-data.toml").write_text(_OPTIONS)
    for number, each in enumerate(given):
        Image.fromarray(each.pixels).save(folder / f"images/{number:05}.png")


if __name__ == "__main__":
    sys.exit(main())
