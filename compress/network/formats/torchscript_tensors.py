"""The tensors of a TorchScript archive, checked against the bytes they claim.

torch's C++ reader takes sizes, strides and offsets from the pickle and believes them; a tensor that claims more than
its record holds reads other memory, or ends the process. Here the pickle is decoded with every name replaced by a
stand-in that does nothing, and each tensor's extent is compared with its record.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

from compress.network.formats.zip_archive import ZipArchive, damaged

_PICKLES = {"data.pkl": "data/", "constants.pkl": "constants/"}
# Sparse tensors consist of these.
_VIEWS = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_qtensor"})
_BYTES = {  # by torch's name of the storage
    "Byte": 1,
    "Char": 1,
    "Bool": 1,
    "QInt8": 1,
    "QUInt8": 1,
    "Short": 2,
    "Half": 2,
    "BFloat16": 2,
    "Int": 4,
    "Float": 4,
    "QInt32": 4,
    "Long": 8,
    "Double": 8,
    "ComplexFloat": 8,
    "ComplexDouble": 16,
}


# What Python's unpickler raises for bytes that are no pickle of these.
_NOT_DECODED = (
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def check_tensors(archive: ZipArchive) -> None:
    """Refuse an archive whose tensors reach beyond their records.

    Raises:
        NetworkError: A tensor reaches beyond its record, or a pickle cannot be decoded.
    """
    for name, folder in _PICKLES.items():
        if name not in archive:
            continue
        try:
            _Reader(io.BytesIO(archive.read(name)), archive, folder).load()
        except _NOT_DECODED as error:
            raise damaged(archive.path, f"{name}: {error}") from error


class _StandIn:
    """Stand-in for any name in a pickle: it can be made and given state, and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, archive: ZipArchive, folder: str) -> None:
        super().__init__(stream)
        self._archive = archive
        self._folder = folder

    def find_class(self, module_name: str, global_name: str) -> Callable[..., Any]:
        if module_name == "torch._utils" and global_name in _VIEWS:
            return _rebuild
        if module_name == "torch":  # a storage, named by its dtype
            return type(global_name, (_StandIn,), {})
        return _StandIn

    def persistent_load(self, pid: Any) -> int:
        """Return the number of elements in a storage, after comparing it with the record."""
        _, storage, key, _, count = pid
        size = _BYTES[storage.__name__.removesuffix("Storage")]
        held = self._archive.size(f"{self._folder}{key}")
        if not 0 <= count * size <= held:
            raise ValueError(f"the storage {key} claims {count * size} bytes and has {held}")
        return int(count)


def _rebuild(
    count: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _StandIn:
    """Check a tensor's view of its storage, in place of ``torch._utils._rebuild_tensor_v2`` and similar."""
    if min((offset, *shape, *stride)) < 0 or len(shape) != len(stride):
        raise ValueError("a tensor of negative size")
    reach = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
    if math.prod(shape) and reach > count:
        raise ValueError(f"a tensor reaches {reach} elements into a storage of {count}")
    return _StandIn()
