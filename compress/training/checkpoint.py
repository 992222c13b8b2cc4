"""Checkpoints of a training on disk, so that a killed run can be resumed."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.core.files import written_safely
from compress.core.replacing import replaced_whole
from compress.training.samples import TrainingSamples

#: Stands between what torch wrote and its hash, at the end of the file, where torch's reader does not mind it.
_DIGEST_MARK = b"\nsha256 "
_DIGEST_BYTES = len(_DIGEST_MARK) + 64


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Copy everything that training may change: parameters, and buffers such as batch-norm statistics."""
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    return {name: value.detach().clone() for name, value in (trained | dict(module.named_buffers())).items()}


def key_of(student: nn.Module, teacher: nn.Module, samples: TrainingSamples, *how: object) -> str:
    """Return the key that a checkpoint of a training must have.

    Args:
        student: Student before training.
        teacher: Teacher, whose computation, parameters and buffers count.
        samples: All samples of the training.
        how: Settings of the training, by their printed form.
    """
    identity = (
        f"{how} {len(samples)} {samples.sha256} {torch.__version__} {form_of(student)} {form_of(teacher)}"
    )
    digest = hashlib.sha256(identity.encode())
    for tensors in (state_of(student), teacher.state_dict()):
        add_tensors(digest, tensors)
    return digest.hexdigest()


def form_of(module: nn.Module) -> str:
    """Describe what a module computes as text: the calls of a graph, and its layers with their settings."""
    return " ".join([*(getattr(part, "code", "") for part in module.modules()), str(module)])


def add_tensors(digest: hashlib._Hash, tensors: Mapping[str, Tensor]) -> None:
    """Add tensors of any kind to a hash, in the order of their names."""
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values; a file of this name is replaced at once or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    with written_safely(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_whole(path) as written:
        with written.open("wb") as file:
            torch.save(state, file)
        digest = _sha256(written)
        with written.open("ab") as file:
            file.write(_DIGEST_MARK + digest.encode())


def load(path: Path, key: str) -> dict[str, Any] | None:
    """Load the state that was saved under this key; None where there is no such file, or it is of another training.

    Nothing in the file is run. A damaged file counts as missing, even by one bit: training begins anew.
    """
    try:
        if not _is_whole(path):
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and state.get("key") == key else None


def _is_whole(path: Path) -> bool:
    """Whether a file ends with the hash of its content; torch verifies no checksum itself."""
    length = path.stat().st_size - _DIGEST_BYTES
    with path.open("rb") as file:
        file.seek(max(length, 0))
        return file.read() == _DIGEST_MARK + _sha256(path, length).encode()


def _sha256(path: Path, length: int | None = None) -> str:
    """Return the sha256 of a file, or of so many bytes at its start."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        bytes_left = path.stat().st_size if length is None else length
        while bytes_left > 0 and (block := file.read(min(bytes_left, 1 << 20))):
            digest.update(block)
            bytes_left -= len(block)
    return digest.hexdigest()
