"""Profiles as they pile up in a directory over weeks; their figures are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.bundle.profile_file import with_digest
from compress.records.profile import Latency, Profile
from tests.records import profile

Kept = Callable[..., Path]


def slower(latency: Latency, factor: float) -> Latency:
    ends = latency.interval
    return replace(
        latency,
        p50_ms=latency.p50_ms * factor,
        interval=replace(ends, low=ends.low * factor, high=ends.high * factor),
    )


def day(number: int, factor: float = 1.0, **fields: Any) -> Profile:
    """The profile of one day of October, whose latencies are ``factor`` times the usual."""
    base = profile(outcomes=())
    fields = {
        "network": "net",
        "accuracy": None,
        "recorded_at": f"2026-10-{number:02d}T12:00:00+00:00",
        "latency": tuple(slower(each, factor) for each in base.latency),
        **fields,
    }
    return replace(base, **fields)


@pytest.fixture
def month(tmp_path: Path) -> Path:
    """Twenty days; builds took 10 % longer from the eleventh on, and were 5 % larger from the sixteenth on."""
    random = np.random.default_rng(0)
    for number in range(1, 21):
        factor = (1.0 if number <= 10 else 1.1) * float(np.exp(random.normal(0, 0.025)))
        size = 1000 if number <= 15 else 1050
        # Names in another order than the days.
        path = tmp_path / f"{97 * number % 100:02d}.json"
        path.write_text(json.dumps(with_digest(day(number, factor, artifact_bytes=size))))
    return tmp_path
