from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.records.profile import SCHEMA, Interval, Profile, Scenario, WarmUp
from compress.records.schemas import schema_text
from tests.records import latency, profile

PROFILES = Path(__file__).parents[2] / "profiles"

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


def test_everything_measured_survives_the_round_trip_and_is_valid() -> None:
    warm_up = WarmUp(80, 0.1, True)
    timed = replace(
        latency(),
        p90_interval=Interval(2.1, 2.3, 0.95),
        p99_interval=Interval(2.4, 2.6, 0.95),
        warm_up=warm_up,
        drift=-0.05,
    )
    stream = Scenario(
        "multi-stream", 8, 8, 700, 99, 9.0, Interval(8.0, 10.0, 0.95), 11.0, 900.0, warm_up=warm_up
    )
    offline = Scenario("offline", 512, 4, 1, None, None, None, None, 950.0, (timed,), 1)
    original = replace(
        profile(),
        latency=(timed,),
        scenarios=(stream, offline),
        conditions={"intra_op_threads": 1, "spinning": False, "affinity": [0, 1], "load_average": 0.5},
        energy_mj=1.5,
        energy_interval=Interval(1.4, 1.6, 0.9),
        energy_batch=4,
        power_w=3.5,
        warnings=("batch 1: doubtful",),
    )
    data = json.loads(json.dumps(original.to_dict()))
    jsonschema.validate(data, json.loads(schema_text("profile")))
    assert Profile.from_dict(data) == original


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.json")), ids=lambda path: path.name)
def test_profiles_recorded_before_there_were_these_fields_are_read(path: Path) -> None:
    data = json.loads(path.read_text())
    for field in (
        "conditions",
        "scenarios",
        "energy_mj",
        "warnings",
        "energy_interval",
        "energy_batch",
        "power_w",
    ):
        data.pop(field, None)
    for entry in data["latency"]:
        for field in ("p90_interval", "p99_interval", "warm_up", "drift"):
            entry.pop(field, None)
    found = Profile.from_dict(data)
    assert (found.conditions, found.scenarios, found.energy_mj, found.warnings) == (None, (), None, ())
    assert found.latency[0].warm_up is None
    assert found.latency[0].p50_ms > 0


def test_the_unit_of_a_drop_of_a_profile_that_does_not_tell_it_follows_from_its_metric() -> None:
    data = json.loads(json.dumps(profile(drop=(0.1, 0.2, 0.3)).to_dict()))
    for right_or_wrong, kept, unit in (
        (True, None, "points"),
        (False, None, "% of the mean"),
        (False, 0.9, "points"),
    ):
        data["accuracy"].update(right_or_wrong=right_or_wrong, kept=kept)
        data["accuracy"]["drop"].pop("relative", None)
        accuracy = Profile.from_dict(data).accuracy
        assert accuracy is not None
        assert accuracy.drop is not None
        assert accuracy.drop.unit == unit


def test_right_or_wrong_outcomes_are_one_character_each() -> None:
    assert profile(outcomes=(1.0, 0.0, 1.0)).to_dict()["outcomes"] == "101"


def test_later_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="later"):
        Profile.from_dict({**profile().to_dict(), "schema": SCHEMA + 1})


def test_tampered_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="other than 0 and 1"):
        Profile.from_dict({**profile().to_dict(), "outcomes": "10x"})
