from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compress.records.decoder_speed import DecoderSpeed
from compress.records.draft_speed import DraftSpeed
from compress.records.greedy import GreedyText
from compress.records.profile import SCHEMA, Profile
from compress.records.schemas import schema_text
from tests.records import latency, profile
from tests.reports.runs import candidates, estimated, written


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(schema_text(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("target", ["cpu", "jetson"])
@pytest.mark.parametrize("name", ["profile", "manifest"])
def test_a_written_bundle_is_valid(tmp_path: Path, name: str, target: str) -> None:
    entries = candidates() if target == "cpu" else estimated(candidates())
    build = written(tmp_path, entries, target)
    validator(name).validate(json.loads((build / f"{name}.json").read_text()))


def test_every_field_of_a_profile_is_described() -> None:
    schema = json.loads(schema_text("profile"))
    greedy = GreedyText(1, "a" * 64, ((1,),))
    speed = DecoderSpeed(8, 1, 0, latency(), latency(), 512, 1000)
    draft = DraftSpeed("a" * 64, 1000, 4, 1, 1, 8, 8, 8, 0.7, None)
    of_a_language_model = replace(profile(), greedy=greedy, decoding=(speed,), draft=draft)
    assert set(schema["properties"]) - {"sha256"} == set(of_a_language_model.to_dict())
    assert schema["properties"]["schema"]["const"] == SCHEMA


@pytest.mark.parametrize("outcomes", [(), (1.0, 0.0), (0.25, 0.5)])
def test_outcomes_in_both_forms_are_valid(outcomes: tuple[float, ...]) -> None:
    validator("profile").validate(json.loads(json.dumps(profile(outcomes=outcomes).to_dict())))


@pytest.mark.parametrize(
    "path, value",
    [
        (["schema"], 2),
        (["artifact_sha256"], "abc"),
        (["latency", 0, "source"], "guessed"),
        (["latency", 0, "p50_ms"], -1),
        (["accuracy", "interval", "level"], 95),
        (["accuracy", "drop", "churn"], 2),
        (["outcomes"], "012"),
        (["surprise"], 1),
    ],
)
def test_a_wrong_profile_is_invalid(path: list[Any], value: Any) -> None:
    data = json.loads(json.dumps(profile(ratio=0.5, drop=(0.0, 0.1, 0.2)).to_dict()))
    validator("profile").validate(data)
    wrong = copy.deepcopy(data)
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validator("profile").validate(wrong)


@pytest.mark.parametrize("field", ["recipe", "accuracy", "latency", "outcomes", "fingerprint"])
def test_what_the_reader_needs_is_required(field: str) -> None:
    data = json.loads(json.dumps(profile().to_dict()))
    del data[field]
    with pytest.raises(jsonschema.ValidationError):
        validator("profile").validate(data)
    with pytest.raises((KeyError, TypeError)):
        Profile.from_dict(data)
