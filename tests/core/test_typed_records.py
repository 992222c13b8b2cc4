"""Records that were read out of files have the types that they declare."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.bundle.profile_file import load_recorded, with_digest
from compress.core.digests import DIGEST, digest
from compress.core.typed_records import check_types
from compress.errors import BundleError
from compress.records.profile import Interval
from tests.records import profile


def test_a_profile_has_its_types() -> None:
    whole = profile(drop=(0.0, 1.0, 2.0), ratio=1.2)
    check_types(whole)
    check_types(replace(whole, peak_memory_mb=12))
    check_types(Interval(float("-inf"), float("inf"), 0.9))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("fingerprint",), 1.5),
        (("target",), {"a": 1}),
        (("artifact_bytes",), []),
        (("artifact_bytes",), True),
        (("peak_memory_mb",), "a"),
        (("peak_memory_mb",), 10**400),
        (("versions",), {"python": 3}),
        (("latency", 0, "p50_ms"), [1]),
        (("latency", 0, "p50_ms"), float("nan")),
        (("latency", 0, "interval", "low"), "a"),
        (("accuracy", "metric"), None),
        (("warnings",), [1]),
        (("latency", 0, "source"), "guessed"),
    ],
)
def test_a_profile_of_other_types_is_refused(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    data = with_digest(profile())
    del data[DIGEST]
    held: Any = data
    for step in place[:-1]:
        held = held[step]
    held[place[-1]] = value
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({**data, DIGEST: digest(data)}))
    with pytest.raises(BundleError, match=str(place[-1])):
        load_recorded(path)
