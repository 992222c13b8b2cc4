"""A training on disk, so that a killed run goes on where it was."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from compress.errors import OutputError


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
