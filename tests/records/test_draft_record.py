"""A draft is proven where every text is the same and the time is below plain greedy text's."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from compress.records.draft_speed import DraftSpeed
from compress.records.profile import Interval, Profile
from compress.records.schemas import schema_text
from tests.records import profile

SPEED = DraftSpeed("a" * 64, 1000, 4, 20, 20, 1280, 800, 600, 0.7, Interval(0.6, 0.8, 0.95))


def test_a_profile_holds_it_by_its_schema():
    measured = replace(profile(), draft=SPEED)
    data = json.loads(json.dumps(measured.to_dict()))
    jsonschema.validate(data, json.loads(schema_text("profile")))
    assert (data["draft"]["acceptance"], data["draft"]["is_proven"]) == (0.75, True)
    assert Profile.from_dict(data) == measured


@pytest.mark.parametrize(
    "changed",
    [
        {"equal": 19},
        {"ratio_interval": Interval(0.6, 1.0, 0.95)},
        {"ratio_interval": None},
        {"texts": 0, "equal": 0},
    ],
)
def test_what_is_not_proven(changed: dict[str, object]):
    speed = replace(SPEED, **changed)  # type: ignore[arg-type]
    assert not speed.is_proven
    assert "not proven faster with equal text, so it is not shipped" in str(speed)


def test_it_is_told_in_a_line():
    assert str(SPEED) == (
        "the draft, 4 tokens ahead: 75 % of its tokens accepted, 0.70× the time (0.60 to 0.80), 20 of 20 measured "
        "texts equal to plain greedy text (1280 tokens): it is shipped"
    )
