"""The speed of a decoder: what follows from measured times, and its JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from compress.records.decoder_speed import Bandwidth, DecoderSpeed
from compress.records.profile import Interval, Profile
from compress.records.schemas import schema_text
from tests.records import latency, profile

BANDWIDTH = Bandwidth(20.0, Interval(18.0, 22.0, 0.95), 2, 1 << 27)
SPEED = DecoderSpeed(128, 2, 0, latency(p50_ms=8.0), latency(p50_ms=2.0), 512, 30_000_000, 12.5, BANDWIDTH)


def test_rates_follow_from_times():
    assert SPEED.prompt_tokens_per_s == 2 * 128 / 0.008
    assert SPEED.tokens_per_s == 2 / 0.002
    # 1.9 to 2.1 ms for a step of two texts.
    assert SPEED.tokens_per_s_interval.low == pytest.approx(2 / 0.0021)
    assert SPEED.tokens_per_s_interval.high == pytest.approx(2 / 0.0019)


def test_the_share_of_the_bandwidth_has_both_intervals():
    # 30 MB in 2 ms are 15 GB/s, of 20.
    assert SPEED.bandwidth_share == pytest.approx(0.75)
    between = SPEED.bandwidth_share_interval
    assert between is not None
    assert between.low == pytest.approx(30e6 / 0.0021 / 22e9)
    assert between.high == pytest.approx(30e6 / 0.0019 / 18e9)
    unknown = replace(SPEED, bandwidth=None)
    assert (unknown.bandwidth_share, unknown.bandwidth_share_interval) == (None, None)


@pytest.mark.parametrize("speed", [SPEED, replace(SPEED, bandwidth=None, peak_memory_mb=None)])
def test_a_profile_holds_it_by_its_schema(speed: DecoderSpeed):
    measured = replace(profile(), decoding=(speed,))
    data = json.loads(json.dumps(measured.to_dict()))
    jsonschema.validate(data, json.loads(schema_text("profile")))
    assert data["decoding"][0]["source"] == "measured"
    assert Profile.from_dict(data) == measured


def test_other_networks_have_none():
    assert not {"decoding", "greedy"} & set(profile().to_dict())
