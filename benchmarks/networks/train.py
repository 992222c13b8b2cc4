"""Train the reference networks and save each in every format that compress reads.

    python -m benchmarks run train [--out references] [--only resnet20] [--epochs N] [--threads 2] [--seed 0]

Below ``--out``, for each network NAME:

    NAME.pt2            torch.export, batch dimension dynamic
    NAME.ts.pt          TorchScript by tracing, evaluation mode
    NAME.state.pt       state_dict, by torch.save
    NAME.safetensors    the same state_dict without pickle
    NAME.onnx           opset 20, batch dimension "batch", weights inside
    data/train.npz, data/calibration.npz, data/val.npz   x float32 [n, 1, 28, 28] normalised, y int64 [n]
    data/fragments/…, data/packages/…   the same three of byte sequences: x uint8 [n, length], y int64 [n]
    summary.json        accuracy, parameters, seconds, files and how far each is from the trained network

Nothing is chosen by the test samples: the settings are fixed below and the accuracy is the last epoch's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.data import fashion_mnist, sequences
from benchmarks.networks import FACTORIES
from compress.errors import CompressError, OutputError

CALIBRATION_SAMPLES = 4096
ONNX_OPSET = 20
LABEL_SMOOTHING = 0.1
SHIFT = 2  # pixels, the largest random shift in each direction


@dataclass(frozen=True)
class Schedule:
    """Training of one network, under the one-cycle learning rate of Smith & Topin (arXiv 1708.07120).

    Attributes:
        optimizer: ``"sgd"`` (Nesterov momentum 0.9) or ``"adamw"``.
        epochs: Passes over the training samples.
        batch: Samples per step.
        peak_rate: The highest learning rate.
        weight_decay: Applied to weight matrices and kernels, not to biases, norms or positions.
        bfloat16: Forward pass under bfloat16 autocast; off where it was measured to be slower.
    """

    optimizer: str
    epochs: int
    batch: int
    peak_rate: float
    weight_decay: float
    bfloat16: bool


SCHEDULES = {
    "resnet20": Schedule("sgd", epochs=10, batch=128, peak_rate=0.3, weight_decay=5e-4, bfloat16=True),
    "mobilenet": Schedule("sgd", epochs=6, batch=128, peak_rate=0.2, weight_decay=1e-4, bfloat16=False),
    "vit": Schedule("adamw", epochs=10, batch=128, peak_rate=1.5e-3, weight_decay=0.05, bfloat16=True),
    "gru": Schedule("adamw", epochs=10, batch=128, peak_rate=4e-3, weight_decay=0.01, bfloat16=False),
    "byte_cnn": Schedule("adamw", epochs=5, batch=128, peak_rate=4e-3, weight_decay=0.01, bfloat16=True),
    "text_encoder": Schedule("adamw", epochs=4, batch=128, peak_rate=1e-3, weight_decay=0.05, bfloat16=True),
}


@dataclass(frozen=True)
class Split:
    """Images, float32 [n, 1, 28, 28], or bytes, uint8 [n, length], and labels, int64 [n]."""

    x: Tensor
    y: Tensor

    @property
    def of_images(self) -> bool:
        """Whether these are images."""
        return self.x.ndim == 4


@dataclass(frozen=True)
class Data:
    """Data that networks are trained on.

    Attributes:
        folder: Below ``data``.
        load: Reads the split of this name.
        splits: The names of the training and the test split.
        networks: Which networks.
    """

    folder: str
    load: Callable[[str], tuple[Any, Any]]
    splits: tuple[str, str]
    networks: tuple[str, ...]


DATA = (
    Data("", fashion_mnist.load, ("train", "t10k"), ("resnet20", "mobilenet", "vit", "gru")),
    Data("fragments", sequences.fragments, ("train", "test"), ("byte_cnn",)),
    Data("packages", sequences.packages, ("train", "test"), ("text_encoder",)),
)


def main() -> int:
    """Train, save and report; return the exit code."""
    parser = argparse.ArgumentParser(description="Train the reference networks.")
    parser.add_argument("--out", type=Path, default=Path("references"), help="directory of the results")
    parser.add_argument("--only", choices=list(FACTORIES), action="append", help="train this one; repeatable")
    parser.add_argument("--epochs", type=_positive, help="instead of each network's own number")
    parser.add_argument("--threads", type=_positive, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    # Nothing reads uninitialised memory, and filling it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        for data in DATA:
            wanted = [name for name in options.only or FACTORIES if name in data.networks]
            if wanted:
                train_set, test_set = (_tensors(data.load(split)) for split in data.splits)
                _write_data(options.out / "data" / data.folder, train_set, test_set, options.seed)
            for name in wanted:
                _train_and_save(name, train_set, test_set, options)
    except CompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _train_and_save(name: str, train_set: Split, test_set: Split, options: argparse.Namespace) -> None:
    schedule = SCHEDULES[name]
    if options.epochs is not None:
        schedule = replace(schedule, epochs=options.epochs)
    started = time.perf_counter()
    network, accuracy = train(name, schedule, train_set, test_set, options.seed)
    seconds = time.perf_counter() - started
    entry = {
        "accuracy": accuracy,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "seconds": round(seconds, 1),
        "seed": options.seed,
        "threads": options.threads,
        "schedule": asdict(schedule),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "files": save(name, network, _as_input(test_set.x[:256]), options.out),
    }
    _add_to_summary(options.out / "summary.json", name, entry)
    print(
        f"{name}: top-1 {accuracy:.2%}, {entry['parameters']:,} parameters, {seconds:.0f} s",
        flush=True,
    )


def train(
    name: str, schedule: Schedule, train_set: Split, test_set: Split, seed: int
) -> tuple[nn.Module, float]:
    """Train one network from its initialisation and print a line per epoch.

    The same seed, number of threads, machine and torch release give the same weights.

    Returns:
        The network in evaluation mode and its top-1 accuracy in [0, 1] on the test samples, in float32.
    """
    torch.manual_seed(seed)
    network = FACTORIES[name]()
    if train_set.of_images:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(network, schedule)
    steps = len(train_set.y) // schedule.batch  # the last, smaller batch is left out
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.peak_rate, total_steps=schedule.epochs * steps, pct_start=0.25
    )
    accuracy = 0.0
    for epoch in range(1, schedule.epochs + 1):
        started = time.perf_counter()
        network.train()
        total_loss = 0.0
        for x, y in _batches(train_set, schedule.batch):
            # On a CPU the fused attention kernel was measured to be slower in bfloat16 than plain products.
            with (
                torch.autocast("cpu", torch.bfloat16, enabled=schedule.bfloat16),
                sdpa_kernel(SDPBackend.MATH),
            ):
                logits = network(x)
            loss = functional.cross_entropy(logits.float(), y, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), max_norm=5.0)
            optimizer.step()
            rate.step()
            total_loss += loss.item()
        accuracy = top1(network, test_set)
        print(
            f"{name} epoch {epoch}/{schedule.epochs}: loss {total_loss / steps:.4f}, "
            f"test top-1 {accuracy:.2%}, {time.perf_counter() - started:.1f} s",
            flush=True,
        )
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return network.eval(), accuracy


def top1(network: nn.Module, split: Split) -> float:
    """Return the share of samples whose largest logit is their label's, in [0, 1]; sets evaluation mode."""
    network.eval()
    with torch.inference_mode():
        batches = zip(torch.split(split.x, 500), torch.split(split.y, 500), strict=True)
        correct = sum(int((network(_as_input(x)).argmax(dim=1) == y).sum()) for x, y in batches)
    return correct / len(split.y)


def save(name: str, network: nn.Module, probe: Tensor, directory: Path) -> dict[str, dict[str, Any]]:
    """Write the network in every format, run each file again, and compare.

    Args:
        name: First part of the files' names.
        network: In evaluation mode.
        probe: Inputs as the network takes them, [n, …], for the comparison.
        directory: Exists.

    Returns:
        For each file its bytes, its sha256, and the largest absolute difference of its logits on ``probe``.
    """
    example = torch.zeros_like(probe[:2])
    batch = {"x": {0: torch.export.Dim("batch")}}
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    writers: dict[str, Callable[[Path], object]] = {
        "pt2": lambda path: torch.export.save(
            torch.export.export(network, (example,), dynamic_shapes=batch), path
        ),
        "ts.pt": lambda path: torch.jit.save(_traced(network, example), path),
        "state.pt": lambda path: torch.save(state, path),
        "safetensors": lambda path: safetensors.torch.save_file(state, path),
        "onnx": lambda path: torch.onnx.export(
            network,
            (example,),
            path,
            dynamo=True,
            opset_version=ONNX_OPSET,
            input_names=["x"],
            output_names=["logits"],
            dynamic_shapes={"x": {0: "batch"}},
            external_data=False,
            verbose=False,
        ),
    }
    with torch.inference_mode():
        expected = network(probe)
    files = {}
    for suffix, write in writers.items():
        path = directory / f"{name}.{suffix}"
        with _replacing(path) as partial:
            write(partial)
        content = path.read_bytes()
        files[path.name] = {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "max_abs_difference": float((_run(name, path, probe) - expected).abs().max()),
        }
    return files


def _traced(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    traced: torch.jit.ScriptModule = torch.jit.trace(network, example)  # type: ignore[no-untyped-call]
    return traced


def _run(name: str, path: Path, x: Tensor) -> Tensor:
    """Logits [n, classes] of a saved network."""
    suffix = path.name.removeprefix(f"{name}.")
    if suffix == "onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
    network: nn.Module
    if suffix == "pt2":
        network = torch.export.load(path).module()
    elif suffix == "ts.pt":
        network = torch.jit.load(path)  # type: ignore[no-untyped-call]
    else:
        network = FACTORIES[name]().eval()
        state = safetensors.torch.load_file(path) if suffix == "safetensors" else torch.load(path)
        network.load_state_dict(state)
    with torch.inference_mode():
        logits: Tensor = network(x)
    return logits


def _optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    parameters = list(network.named_parameters())
    decayed = [value for key, value in parameters if value.ndim > 1 and "position" not in key]
    others = [value for key, value in parameters if value.ndim <= 1 or "position" in key]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=schedule.peak_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=schedule.peak_rate)


def _batches(split: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled full batches; images are augmented."""
    if split.of_images:
        yield from _augmented_batches(split, size)
        return
    order = torch.randperm(len(split.y))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        yield _as_input(split.x[chosen]), split.y[chosen]


def _as_input(x: Tensor) -> Tensor:
    """Bytes are stored as such and read as numbers of rows of an embedding."""
    return x.long() if x.dtype == torch.uint8 else x


def _augmented_batches(split: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled full batches; each image is flipped with probability 1/2 and shifted by up to SHIFT pixels."""
    background = split.x.min()
    padded = functional.pad(split.x, (SHIFT,) * 4, value=float(background))
    side = split.x.shape[-1]
    order = torch.randperm(len(split.y))
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        rows, columns = (
            torch.randint(0, 2 * SHIFT + 1, (size, 1)) + torch.arange(side) for _ in range(2)
        )  # [size, 28] each: which pixels of the padded image are kept
        flipped = torch.rand(size, 1) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
        x = padded[chosen[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)
        yield x, split.y[chosen]


def _write_data(directory: Path, train_set: Split, test_set: Split, seed: int) -> None:
    """Write the splits; the calibration samples are drawn from the training samples and from nothing else."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"a directory at {directory}", str(error), "name another with --out") from error
    drawn = torch.randperm(len(train_set.y), generator=torch.Generator().manual_seed(seed))[
        :CALIBRATION_SAMPLES
    ]
    calibration = Split(train_set.x[drawn], train_set.y[drawn])
    for name, split in (("train", train_set), ("calibration", calibration), ("val", test_set)):
        with _replacing(directory / f"{name}.npz") as partial, partial.open("wb") as file:
            np.savez(file, x=split.x.numpy(), y=split.y.numpy())


def _add_to_summary(path: Path, name: str, entry: dict[str, Any]) -> None:
    summary = json.loads(path.read_text()) if path.exists() else {}
    summary[name] = entry
    with _replacing(path) as partial:
        partial.write_text(json.dumps(summary, indent=2) + "\n")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, in the same directory; what was written there replaces ``path`` at the end."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _tensors(arrays: tuple[NDArray[Any], NDArray[np.int64]]) -> Split:
    return Split(torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1]))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


if __name__ == "__main__":
    sys.exit(main())
