from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.record import SCHEMA, Profile
from tests.records import profile

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    outcomes=st.lists(numbers, max_size=20) | st.lists(st.sampled_from([0.0, 1.0]), max_size=20),
    drop=st.none() | st.tuples(numbers, numbers, numbers),
    ratio=st.none() | st.floats(0.01, 100),
)
def test_json_round_trip(
    outcomes: list[float], drop: tuple[float, float, float] | None, ratio: float | None
) -> None:
    original = profile(ratio=ratio, drop=drop, outcomes=tuple(outcomes))
    assert Profile.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_right_or_wrong_outcomes_are_one_character_each() -> None:
    assert profile(outcomes=(1.0, 0.0, 1.0)).to_dict()["outcomes"] == "101"


def test_later_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="later"):
        Profile.from_dict({**profile().to_dict(), "schema": SCHEMA + 1})


def test_tampered_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="other than 0 and 1"):
        Profile.from_dict({**profile().to_dict(), "outcomes": "10x"})


def test_latency_is_found_by_batch() -> None:
    assert profile().at_batch(32).batch == 32
    with pytest.raises(KeyError):
        replace(profile(), latency=()).at_batch(1)
