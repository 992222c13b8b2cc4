"""Directories with settings and weights, as transformers' ``save_pretrained`` or timm writes them for Hugging Face.

``config.json`` names the network; its weights lie beside it. Nothing here needs transformers, timm or torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compress.core.bounded_reading import read_bytes
from compress.errors import NetworkError

CONFIG = "config.json"
_MOST_BYTES = 50_000_000
_SAFE = ("model.safetensors.index.json", "model.safetensors")
_PICKLED = ("pytorch_model.bin.index.json", "pytorch_model.bin")


@dataclass(frozen=True)
class ModelDirectory:
    """A directory with a network's settings and weights.

    Attributes:
        path: The directory.
        library: Library that builds the network: ``transformers`` or ``timm``.
        config: The settings in ``config.json``.
        weights: File with the weights, or with the index of such files.
        pickled: Whether the weights are pickles.
    """

    path: Path
    library: Literal["transformers", "timm"]
    config: dict[str, Any]
    weights: Path
    pickled: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the network is made of: the settings, and every file of the weights."""
        return (self.path / CONFIG, self.weights, *self._shards())

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, by label; None where the settings do not name them."""
        names = self.config.get("id2label", self.config.get("label_names"))
        if isinstance(names, dict):
            names = [names.get(str(label)) for label in range(len(names))]
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            return None
        return tuple(names)

    def _shards(self) -> tuple[Path, ...]:
        if self.weights.suffix != ".json":
            return ()
        table = _read(self.weights).get("weight_map")
        names = list(dict.fromkeys(table.values())) if isinstance(table, dict) else []
        wrong = [name for name in names if not isinstance(name, str) or Path(name).name != name]
        if not names or wrong:
            raise NetworkError(
                "an index of files beside it", f"{self.weights}, which lists {wrong[:1]}", "save it again"
            )
        return tuple(self.path / name for name in names)


def directory_of(path: Path) -> ModelDirectory | None:
    """Return the network that a directory holds; None where it is no such directory.

    Raises:
        NetworkError: ``config.json`` cannot be read.
    """
    if not (path / CONFIG).is_file():
        return None
    weights = next((path / name for name in (*_SAFE, *_PICKLED) if (path / name).is_file()), None)
    if weights is None:
        return None
    config = _read(path / CONFIG)
    if isinstance(config.get("architecture"), str):
        return ModelDirectory(path, "timm", config, weights, weights.name in _PICKLED)
    if isinstance(config.get("model_type"), str):
        return ModelDirectory(path, "transformers", config, weights, weights.name in _PICKLED)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(read_bytes(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise NetworkError(
            "settings as JSON", f"{path}: {getattr(error, 'strerror', None) or error}", "save it again"
        ) from error
    if not isinstance(settings, dict):
        raise NetworkError(
            "settings as a JSON object", f"{path}, a {type(settings).__name__}", "save it again"
        )
    return settings


def settings_beside(directory: ModelDirectory, name: str) -> dict[str, Any]:
    """Return the JSON object in a file of the directory; empty where there is none.

    Raises:
        NetworkError: The file cannot be read.
    """
    path = directory.path / name
    return _read(path) if path.is_file() else {}
