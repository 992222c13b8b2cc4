"""Protocol buffers read field by field, without a parser of their message.

https://protobuf.dev/programming-guides/encoding/: a graph is looked into where it lies, its
weights passed over.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

#: Bytes of a message, in memory or mapped from a file.
Content = bytes | mmap.mmap

_VARINT, _FIXED_64, _MESSAGE, _FIXED_32 = 0, 1, 2, 5


def messages(content: Content, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields that hold messages or bytes: number, and where their content begins and ends.

    Raises:
        ValueError: The bytes are no message.
    """
    return (
        (number, low, high) for number, low, high, kind in _fields(content, start, end) if kind == _MESSAGE
    )


def integers(content: Content, start: int, end: int) -> dict[int, int]:
    """Return the last value of each field that holds a single integer, by its number.

    Raises:
        ValueError: The bytes are no message.
    """
    return {number: value for number, value, _, kind in _fields(content, start, end) if kind == _VARINT}


def _fields(content: Content, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field: number, its value or where its content begins, where that ends, and its kind."""
    at = start
    while at < end:
        tag, at = _varint(content, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT and number:
            value, at = _varint(content, at, end)
            yield number, value, at, kind
        elif kind in (_FIXED_64, _FIXED_32):
            at += 8 if kind == _FIXED_64 else 4
        elif kind == _MESSAGE and number:
            length, at = _varint(content, at, end)
            if at + length > end:
                raise ValueError("a field that is longer than its message")
            yield number, at, at + length, kind
            at += length
        else:
            raise ValueError("no field of a protocol buffer")


def _varint(content: Content, at: int, end: int) -> tuple[int, int]:
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
