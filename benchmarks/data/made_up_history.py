"""A month of profiles in which something went wrong, for `compress history` to find: the README's example.

    python -m benchmarks run made_up_history kept/
    compress history kept/

They are made up: copies of one measured profile, with 2.5 % noise on latency and memory, latency 10 % higher from the
thirteenth day on and the file 30 kB larger from the twenty-first.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from compress.bundle.profile_file import with_digest
from compress.records.profile import Latency, Profile

MEASURED = Path(__file__).resolve().parents[2] / "profiles" / "resnet20.cpu.json"
DAYS, SLOWER_FROM, LARGER_FROM = 24, 12, 20
NOISE, SLOWER, LARGER_BYTES = 0.025, 1.10, 30_000


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks run made_up_history", description=__doc__)
    parser.add_argument(
        "directory", type=Path, help="directory of the profiles; it is made where it is missing"
    )
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    measured = Profile.from_dict(json.loads(MEASURED.read_text()))
    noise = np.random.default_rng(0)
    for day in range(DAYS):
        path = directory / f"resnet20-{day:02}.json"
        path.write_text(json.dumps(with_digest(made_up(measured, day, noise))) + "\n")
    return 0


def made_up(measured: Profile, day: int, noise: np.random.Generator) -> Profile:
    """The profile as it might have been recorded that day."""
    times = (SLOWER if day >= SLOWER_FROM else 1.0) * noise.normal(1, NOISE)
    memory = measured.peak_memory_mb
    return replace(
        measured,
        artifact_sha256=f"{day:064x}",
        artifact_bytes=measured.artifact_bytes + (LARGER_BYTES if day >= LARGER_FROM else 0),
        latency=tuple(scaled(latency, times) for latency in measured.latency),
        peak_memory_mb=None if memory is None else memory * noise.normal(1, NOISE),
        recorded_at=(datetime(2026, 10, 1, 12, tzinfo=UTC) + timedelta(days=day)).isoformat(),
    )


def scaled(latency: Latency, times: float) -> Latency:
    """All that history shows of it."""
    low, high = times * latency.interval.low, times * latency.interval.high
    return replace(
        latency, p50_ms=times * latency.p50_ms, interval=replace(latency.interval, low=low, high=high)
    )


if __name__ == "__main__":
    sys.exit(main())
