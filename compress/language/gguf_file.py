"""The header of a GGUF file: its metadata, and where each tensor lies.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

The package ``gguf`` reads it too, but believes the counts in it: a damaged file keeps it busy for ever. Here every
length is held against the bytes that are there, so the work is bounded by the size of the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.core.bounded_reading import opened_file
from compress.errors import NetworkError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9

#: Types of numbers in the metadata.
_NUMBERS = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}

#: Axes of a tensor, and entries of a list of texts, at most.
_MOST_AXES, _MOST_TEXTS = 4, 1 << 24


@dataclass(frozen=True)
class StoredTensor:
    """Place of one tensor.

    Attributes:
        name: Name of the tensor.
        shape: Sizes of its axes, the outermost first.
        kind: Number of its format, as in ``gguf.GGMLQuantizationType``.
        offset: Number of bytes from the beginning of the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


class GgufFile:
    """A GGUF file, mapped; its tensors are read when they are asked for.

    Args:
        path: The file.

    Attributes:
        metadata: Values by key: numbers, texts, lists of texts, and arrays of numbers.
        tensors: Tensors by name.

    Raises:
        NetworkError: There is no such file, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = _mapped(path)
        self._at = 0
        try:
            self.metadata, self.tensors = self._header()
        except (struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
            raise _damaged(path, str(error)) from error

    def content(self, tensor: StoredTensor, size: int) -> NDArray[np.uint8]:
        """Return the bytes of a tensor.

        Args:
            tensor: The tensor.
            size: Number of bytes.

        Raises:
            NetworkError: The file ends before.
        """
        stored_bytes = self._bytes[tensor.offset : tensor.offset + size]
        if len(stored_bytes) < size:
            raise _damaged(self.path, f"it ends before the end of '{tensor.name}'")
        return stored_bytes

    def _header(self) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
        version, tensors, entries = self._unpack("<4xIQQ")
        if version not in _VERSIONS:
            raise ValueError(f"version {version}, and versions {_VERSIONS[0]} and {_VERSIONS[1]} can be read")
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self._text()
            (kind,) = self._unpack("<I")
            metadata[key] = self._value(kind)
        places = [self._tensor() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise ValueError(f"an alignment of {alignment!r}")
        start = -(-self._at // alignment) * alignment
        by_name = {
            place.name: StoredTensor(place.name, place.shape, place.kind, start + place.offset)
            for place in places
        }
        if len(by_name) < len(places):
            raise ValueError("two tensors have one name")
        return metadata, by_name

    def _tensor(self) -> StoredTensor:
        name = self._text()
        (axes,) = self._unpack("<I")
        if not 1 <= axes <= _MOST_AXES:
            raise ValueError(f"'{name}' has {axes} axes")
        shape = self._unpack(f"<{axes}Q")
        kind, offset = self._unpack("<IQ")
        return StoredTensor(name, shape[::-1], kind, offset)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._numbers(kind, 1)[0].item()
        inner, count = self._unpack("<IQ")
        if inner != _STRING:
            return self._numbers(inner, count)
        if count > _MOST_TEXTS:
            raise ValueError(f"a list of {count} texts")
        return [self._text() for _ in range(count)]

    def _numbers(self, kind: int, count: int) -> NDArray[Any]:
        if kind not in _NUMBERS:
            raise ValueError(f"a value of the unknown type {kind}")
        dtype = np.dtype(_NUMBERS[kind])
        return self._take(count * dtype.itemsize).view(dtype)

    def _text(self) -> str:
        (length,) = self._unpack("<Q")
        return self._take(length).tobytes().decode()

    def _unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._take(struct.calcsize(form)).tobytes())

    def _take(self, size: int) -> NDArray[np.uint8]:
        if size > len(self._bytes) - self._at:
            raise ValueError("it ends inside its header")
        self._at += size
        return self._bytes[self._at - size : self._at]


def is_gguf(path: Path) -> bool:
    """Whether a file begins as a GGUF file does."""
    try:
        with opened_file(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        with opened_file(path) as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise NetworkError("a GGUF file", f"{path}, which is none", "name the model's file")
            return np.memmap(file, np.uint8, "r")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NetworkError("a GGUF file", f"{path}: {reason}", "name the model's file") from error


def _damaged(path: Path, reason: str) -> NetworkError:
    return NetworkError("a whole GGUF file", f"{path}: {reason}", "copy or download it again")
