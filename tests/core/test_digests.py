"""JSON with the hash of its content: every changed bit is seen."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.core.digests import content_as_written, line_with_digest

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), VALUES, max_size=4))
def test_what_was_written_is_read(content: dict[str, object]) -> None:
    assert content_as_written(line_with_digest(content).encode()) == content


@given(st.data())
def test_no_changed_bit_is_read(data: st.DataObject) -> None:
    content = {"name": "int8", "ratio": 0.53, "outcomes": [1.0, 0.0], "kept": True, "deep": {"a": None}}
    line = bytearray(line_with_digest(content).encode())
    bit = data.draw(st.integers(0, 8 * len(line) - 1))
    line[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(ValueError):
        assert content_as_written(bytes(line)) == content  # another way to write the very same


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"a": 1}', b"\xff", b'{"sha256": 1}'])
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        content_as_written(text)
