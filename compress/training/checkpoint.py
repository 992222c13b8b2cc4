"""A training on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import OutputError
from compress.training.samples import TrainingSamples


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Copies of what training may change: parameters, and buffers such as batch-norm statistics."""
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    return {name: value.detach().clone() for name, value in (trained | dict(module.named_buffers())).items()}


def key_of(student: nn.Module, teacher: nn.Module, samples: TrainingSamples, *how: object) -> str:
    """What a checkpoint must share to belong to a training.

    Args:
        student: As it is before training.
        teacher: What it computes counts, and all of its parameters and buffers.
        samples: All of them.
        how: Settings of the training, by what they print as.
    """
    told = f"{how} {len(samples)} {samples.sha256} {torch.__version__} {form_of(student)} {form_of(teacher)}"
    digest = hashlib.sha256(told.encode())
    for tensors in (state_of(student), teacher.state_dict()):
        add_tensors(digest, tensors)
    return digest.hexdigest()


def form_of(module: nn.Module) -> str:
    """What a module computes with its tensors, as text: the calls of a graph, and its layers with their settings."""
    return " ".join([*(getattr(part, "code", "") for part in module.modules()), str(module)])


def add_tensors(digest: hashlib._Hash, tensors: Mapping[str, Tensor]) -> None:
    """Let tensors of any kind count in a hash, in the order of their names."""
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values; a file of this name is replaced at once or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            "space and permission to write a checkpoint",
            f"{path}: {error.strerror or error}",
            "free space or permissions there",
        ) from error


def load(path: Path, key: str) -> dict[str, Any] | None:
    """The state that was saved under this key; None where there is no such file, or it is of another training.

    Nothing in the file is run. A damaged file counts as none: training begins anew.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and state.get("key") == key else None
