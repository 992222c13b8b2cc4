"""Tensors of a directory in the safetensors format, in one file or in several that an index lists.

The format is a length, a JSON object that says where each tensor lies, and the tensors
(https://huggingface.co/docs/safetensors). Nothing in it can run. The package checks a file as it opens it; the values
are read here, a piece at a time, because its arrays for numpy have no bfloat16.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.core.suggestions import did_you_mean
from compress.errors import NetworkError
from compress.language.config import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

#: Types that can be read, and what they are in numpy.
_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}

#: Values that are read at once.
_PIECE = 1 << 22

_GET_AGAIN = "download the model again"


@dataclass(frozen=True)
class _Place:
    file: Path
    kind: str
    shape: tuple[int, ...]
    start: int


class SafetensorsFiles:
    """The tensors of a directory, read when they are asked for.

    Args:
        directory: Directory with ``model.safetensors``, or with an index and the files that it lists.

    Raises:
        NetworkError: A file is missing, damaged, or lies outside of the directory.
    """

    def __init__(self, directory: Path) -> None:
        self.where = str(directory)
        self._places: dict[str, _Place] = {}
        index = directory / INDEX
        if not index.is_file():
            self._add(directory / SINGLE)
            return
        files_by_tensor = _weight_map(index)
        for name in dict.fromkeys(files_by_tensor.values()):
            self._add(directory / name)
        lost = next((name for name in files_by_tensor if name not in self._places), None)
        if lost is not None:
            problem = f"{directory / files_by_tensor[lost]}: no tensor '{lost}'"
            raise NetworkError(f"the tensors that {INDEX} lists", problem, _GET_AGAIN)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name."""
        return {name: place.shape for name, place in self._places.items()}

    def check(self, name: str) -> None:
        """Refuse a tensor whose type cannot be read.

        Raises:
            NetworkError: It is of another type.
        """
        place = self._places[name]
        if place.kind not in _TYPES:
            raise NetworkError(
                "weights in float32, float16 or bfloat16",
                f"{place.file}: '{name}' of type {place.kind}",
                "give the model that it was made from",
            )

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a tensor that is there and of a type that can be read, as float32."""
        place = self._places[name]
        array = np.empty(place.shape, np.float32)
        values = array.reshape(-1)
        halves = values.view("<u2")[1::2]  # bfloat16 is the upper half of a float32
        if place.kind == "BF16":
            values[:] = 0
        try:
            with place.file.open("rb") as file:
                file.seek(place.start)
                for start in range(0, values.size, _PIECE):
                    end = min(start + _PIECE, values.size)
                    piece = np.empty(end - start, _TYPES[place.kind])
                    if file.readinto(piece.view(np.uint8).data) != piece.nbytes:
                        raise OSError("it ends too early")
                    (halves if place.kind == "BF16" else values)[start:end] = piece
        except OSError as error:
            problem = f"{place.file}: {error.strerror or error}"
            raise NetworkError("a safetensors file that can be read", problem, _GET_AGAIN) from error
        return array

    def _add(self, path: Path) -> None:
        header, start = _header(path)
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if name in self._places:
                problem = f"{path} and {self._places[name].file}: '{name}' is in both"
                raise NetworkError("each tensor in one file", problem, _GET_AGAIN)
            begin, _ = entry["data_offsets"]
            self._places[name] = _Place(path, entry["dtype"], tuple(entry["shape"]), start + begin)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return where each tensor lies, and the number of bytes before the first one."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        names = (
            [sibling.name for sibling in path.parent.glob("*.safetensors")] if path.parent.is_dir() else []
        )
        todo = did_you_mean(path.name, names) or _GET_AGAIN
        raise NetworkError("the weights of the model as safetensors", f"{path}: no such file", todo)
    try:
        with safe_open(path, "numpy"):  # all that follows relies on what is checked here
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise NetworkError("a whole safetensors file", f"{path}: {error}", _GET_AGAIN) from error
    return header, 8 + length


def _weight_map(index: Path) -> dict[str, str]:
    """Return the file of each tensor; only files right in the directory are believed."""
    fields = read_json(index).inner("weight_map")
    if fields is None or not fields.values:
        raise NetworkError("an index of tensors", f"{index}: no 'weight_map'", _GET_AGAIN)
    files_by_tensor: dict[str, str] = {}
    for name, file in fields.values.items():
        if not isinstance(file, str) or not file or "\0" in file or Path(file).name != file:
            raise fields.wrong(name, "the name of a file in the same directory")
        files_by_tensor[name] = file
    return files_by_tensor
