"""Profiles for tests of what is decided on them; their figures are made up and belong to no network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from compress.recipe import Recipe, Step
from compress.records.profile import Accuracy, Drop, Interval, Latency, Profile
from compress.search.run_directory import Candidate
from compress.search.run_key import RunKey


def latency(ratio: float | None = None, width: float = 0.02, batch: int = 1, p50_ms: float = 2.0) -> Latency:
    interval = None if ratio is None else Interval(ratio - width, ratio + width, 0.95)
    return Latency("measured", batch, p50_ms, 2.2, 2.5, Interval(1.9, 2.1, 0.95), 500.0, 100, ratio, interval)


def profile(
    name: str = "int8",
    ratio: float | None = None,
    drop: tuple[float, float, float] | None = None,
    size: int = 1000,
    p50_ms: float = 2.0,
    outcomes: tuple[float, ...] = (1.0, 0.0, 1.0),
) -> Profile:
    lost = None if drop is None else Drop(drop[1], Interval(drop[0], drop[2], 0.9), 0.02)
    return Profile(
        recipe=name,
        artifact_sha256="0" * 64,
        artifact_bytes=size,
        backend="onnxruntime",
        options={"intra_op_threads": 1},
        target="cpu",
        accuracy=Accuracy("top-1", 0.9, Interval(0.88, 0.92, 0.95), 3, "1" * 64, True, True, lost),
        latency=(latency(ratio, p50_ms=p50_ms), latency(ratio, batch=32, p50_ms=20 * p50_ms)),
        peak_memory_mb=12.5,
        coverage=None,
        fingerprint={"cpu": "a processor"},
        versions={"python": "3.11"},
        outcomes=outcomes,
    )


def candidate(name: str, **figures: object) -> Candidate:
    steps = () if name == "fp32" else (Step("quantize", {"method": name}),)
    return Candidate(Recipe(name, steps), profile(name, **figures), f"candidates/{name}/model.onnx")  # type: ignore[arg-type]


def resealed(path: Path) -> None:
    """Let the list of hashes say what the files are now, as one who changes a bundle would."""
    names = [line.partition("  ")[2] for line in (path / "SHA256SUMS").read_text().splitlines()]
    lines = [f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (path / "SHA256SUMS").write_text("".join(lines))


def run_key(**changed: Any) -> RunKey:
    """What the measurements of a made-up run depend on."""
    whole: dict[str, Any] = {
        "network": "abc",
        "inputs": ["x: float32 [batch, 4]"],
        "task": {"evaluation_sha256": "d" * 64},
        "target": {"name": "cpu"},
        "backends": ["onnxruntime"],
        "providers": [],
        "threads": None,
        "decisive": 1,
        "seconds": 2.0,
        "seed": 0,
        "device": "cpu",
        "machine": {"cpu": "made up"},
        "versions": {"onnxruntime": "1.22"},
    }
    return RunKey(**{**whole, **changed})
