"""JSON that every parser reads, wherever it is written."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

import compress
from compress.core.json_text import json_text
from compress.records.profile import Drop, Interval, Profile
from tests.records import candidate

ROOMS = ("cli", "bundle/bundle.py", "search/run_directory.py", "api/shipping.py", "bundle/profile_file.py")


def refused(word: str) -> None:
    raise ValueError(word)


def test_what_is_not_finite_is_null() -> None:
    given = {"a": [math.inf, -math.inf, math.nan, 1.5], "b": ({"c": math.inf},), "d": "inf", "e": None}
    read = json.loads(json_text(given), parse_constant=refused)
    assert read == {"a": [None, None, None, 1.5], "b": [{"c": None}], "d": "inf", "e": None}


@pytest.mark.parametrize(
    ("points", "low", "high"),
    [(math.inf, math.inf, math.inf), (0.0, -math.inf, math.inf), (1.0, 0.5, math.inf), (1.0, 0.5, 2.0)],
)
def test_a_drop_is_read_back_as_it_was(points: float, low: float, high: float) -> None:
    entry = candidate("int8", drop=(1.0, 0.5, 2.0))
    assert entry.profile is not None
    assert entry.profile.accuracy is not None
    drop = Drop(points, Interval(low, high, 0.9), 0.1)
    profile = replace(entry.profile, accuracy=replace(entry.profile.accuracy, drop=drop))
    text = json_text(profile.to_dict())
    again = Profile.from_dict(json.loads(text, parse_constant=refused))
    assert again.accuracy is not None
    assert again.accuracy.drop == drop


def test_nothing_that_others_read_is_written_past_it() -> None:
    root = Path(compress.__file__).parent
    files = [
        file for room in ROOMS for file in ((root / room).rglob("*.py") if room == "cli" else [root / room])
    ]
    assert len(files) > len(ROOMS)
    past = {
        str(file.relative_to(root))
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("dumps", "dump")
        and getattr(node.value, "id", "") == "json"
    }
    assert past <= {"bundle/profile_file.py"}  # the text whose hash is taken, which nobody reads
