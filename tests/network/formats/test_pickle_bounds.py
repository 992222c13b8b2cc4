"""How large, deep and entangled a pickle is, told without unpickling it."""

from __future__ import annotations

import collections
import io
import pickle
from typing import Any

import pytest

from compress.network.formats.pickle_bounds import check_bounds
from compress.network.formats.pickles import NotAPickleError


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, (2.5, None), {"b": b"c"}], "d": "é" * 300},
        list(range(3000)),
        [[]] * 1000,
        collections.OrderedDict(x=frozenset({1}), y={2, 3}),
        1 << 4000,
    ],
)
def test_plain_values_pass(value: Any, protocol: int) -> None:
    stream = io.BytesIO(pickle.dumps(value, protocol) + b"after")
    check_bounds(stream)
    assert stream.read() == b"after"


def _doubled(times: int) -> Any:
    value: Any = ()
    for _ in range(times):
        value = (value, value)
    return value


def _of_itself() -> Any:
    value: list[Any] = []
    value.append({"me": value})
    return value


def _deepened() -> Any:
    """A list that was held while it was empty, and became deep afterwards."""
    value: list[Any] = []
    outer = [value]
    for _ in range(400):
        value.append([])
        value = value[0]
    return outer


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (_doubled(60), "counted as often"),
        (_of_itself(), "holds itself"),
        (_deepened(), "deep"),
    ],
)
def test_what_would_take_for_ever_is_refused(value: Any, told: str) -> None:
    with pytest.raises(NotAPickleError, match=told):
        check_bounds(io.BytesIO(pickle.dumps(value, 2)))


def test_objects_may_hold_themselves_where_they_are_trusted() -> None:
    stream = io.BytesIO(pickle.dumps(_of_itself(), 2))
    check_bounds(stream, loops=True)
    assert not stream.read()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"(((",
        b"u.",
        b"a.",
        b"t.",
        b"0.",
        b"2.",
        b"g5\n.",
        b"Ia\n.",
        b"(0a.",
        b"N(a.",
        b"\x80\x02Nr\xff\xff\xff\xff.",
    ],
)
def test_what_is_no_pickle_is_refused(content: bytes) -> None:
    with pytest.raises(NotAPickleError):
        check_bounds(io.BytesIO(content))
