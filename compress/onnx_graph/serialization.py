"""A model as the bytes of its file, one weight after another, so that no second copy of all weights is ever in memory.

A protocol buffer is a row of fields, and one that is a message is its number, its length and its own fields
(https://protobuf.dev/programming-guides/encoding/). So a graph can be written field by field once its length is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_MESSAGE = 2  # how a field is written: with its length before it


def pieces(model: onnx.ModelProto) -> Iterator[bytes]:
    """Yield ``model.SerializeToString()`` in pieces, with fields in the order of their numbers."""
    before, behind = (_fields(model, low, high) for low, high in ((0, _GRAPH), (_GRAPH + 1, None)))
    nodes, after_weights = (
        _fields(model.graph, low, high) for low, high in ((0, _INITIALIZER), (_INITIALIZER + 1, None))
    )
    sizes = [tensor.ByteSize() for tensor in model.graph.initializer]
    length = len(nodes) + len(after_weights) + sum(size + len(_header(_INITIALIZER, size)) for size in sizes)
    yield before
    yield _header(_GRAPH, length)
    yield nodes
    for tensor, size in zip(model.graph.initializer, sizes, strict=True):
        yield _header(_INITIALIZER, size)
        yield tensor.SerializeToString()
    yield after_weights
    yield behind


def _fields(message: Any, first: int, stop: int | None) -> bytes:
    """Serialize the fields of a message with these numbers."""
    some = type(message)()
    for field, value in message.ListFields():
        if field.number < first or (stop is not None and field.number >= stop):
            continue
        if hasattr(value, "extend"):
            getattr(some, field.name).extend(value)
        else:
            setattr(some, field.name, value)
    return bytes(some.SerializeToString())


def _header(number: int, length: int) -> bytes:
    return _varint(number << 3 | _MESSAGE) + _varint(length)


def _varint(value: int) -> bytes:
    """Code a number with seven bits in each byte, the lowest first; the eighth bit says that more follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
