"""The files beside an ONNX graph that hold its weights, as the graph names them.

A tensor whose weights lie elsewhere names the file in an entry ``location``; exporters call it ``<name>.data``,
``<name>_data``, or one file a tensor. The graph is read as a protocol buffer is written
(https://protobuf.dev/programming-guides/encoding/), field by field, so that neither onnx nor the weights are loaded.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

#: For each message the fields that may lead to a tensor, by their numbers in onnx.proto, and the message in each.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2
_VARINT, _FIXED_64, _MESSAGE, _FIXED_32 = 0, 1, 2, 5
_LOCATION = b"location"


def external_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold weights of the graph in ``path``, in the order in which it names them.

    A file that is no graph has none. Names that lead out of the graph's folder are left out, as are files that do not
    exist: no runtime opens such a graph.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_LOCATION) < 0:
                return ()
            names = dict.fromkeys(_locations(content, 0, len(content), "model"))
    except (OSError, ValueError):  # ValueError: an empty file, or one that is no protocol buffer
        return ()
    beside = (path.parent / name for name in names if _stays(name))
    return tuple(each for each in beside if each.is_file())


def _stays(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts and "\0" not in name


def _locations(content: mmap.mmap, start: int, end: int, message: str) -> Iterator[str]:
    known = _FIELDS[message]
    for number, low, high in _fields(content, start, end):
        inner = known.get(number)
        if inner == "entry":
            entry = {key: content[at:to] for key, at, to in _fields(content, low, high)}
            if entry.get(_KEY) == _LOCATION:
                yield entry.get(_VALUE, b"").decode()
        elif inner is not None:
            yield from _locations(content, low, high, inner)


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields that hold messages or bytes: number, and where their content begins and ends.

    Raises:
        ValueError: The bytes are no message.
    """
    at = start
    while at < end:
        tag, at = _varint(content, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, at = _varint(content, at, end)
        elif kind in (_FIXED_64, _FIXED_32):
            at += 8 if kind == _FIXED_64 else 4
        elif kind == _MESSAGE and number:
            length, at = _varint(content, at, end)
            if at + length > end:
                raise ValueError("a field that is longer than its message")
            yield number, at, at + length
            at += length
        else:
            raise ValueError("no field of a protocol buffer")


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Code a number with seven bits in each byte, the lowest first; the eighth bit says that more follow."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
