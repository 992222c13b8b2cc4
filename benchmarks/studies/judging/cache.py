"""The files in which outputs are kept, and how an analysis reads them.

    from benchmarks.studies.judging.cache import load
    study = load("spoken")
    study.original.y, study.labels
    for name, build in study.builds():
        build.y, build.info["drop"]

``info`` of an original: name, told, kind, axis, form, metric, metric_2 (names), lower_is_better, value and value_2
(means over the samples), whole (figures of the whole set), parameters, confidence (mean of the largest softmax value or
sigmoid; null where there is none), seconds. Of a build: name, family, level, seed, value, value_2, drop and drop_2 (in
points: percentage points, or percent of the original's where lower is better), whole, agreement (as compress has it
today, in percent), recipe, seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies.judging.data import Array
from benchmarks.studies.judging.truth import Found, Values

#: Unless --cache, or the environment variable COMPRESS_JUDGING, says otherwise.
DEFAULT = Path("references/judging")


@dataclass(frozen=True)
class Outputs:
    """Answers of a network to the evaluation samples.

    Attributes:
        y: Outputs ``(n, …)``.
        metric: How right each sample is.
        metric_2: By the second metric; None where there is none.
        info: See this module.
    """

    y: Array
    metric: Values
    metric_2: Values | None
    info: dict[str, Any]


@dataclass(frozen=True)
class Study:
    """One network with all its builds.

    Attributes:
        directory: Directory of its files.
        original: Its own outputs.
        labels: Labels of the evaluation samples; a judge does not see them.
    """

    directory: Path
    original: Outputs
    labels: Array

    def names(self) -> list[str]:
        """Return the names of the builds, sorted."""
        return sorted(path.stem for path in (self.directory / "builds").glob("[!.]*.npz"))

    def build(self, name: str) -> Outputs:
        """One build."""
        return read(self.directory / "builds" / f"{name}.npz")

    def builds(self) -> Iterator[tuple[str, Outputs]]:
        """All, one after the other: the outputs of some are large."""
        for name in self.names():
            yield name, self.build(name)


def place(given: Path | None = None) -> Path:
    """The cache's directory."""
    return given or Path(os.environ.get("COMPRESS_JUDGING", DEFAULT))


def load(name: str, cache: Path | None = None) -> Study:
    """A network's outputs, builds and labels."""
    directory = place(cache) / name
    with np.load(directory / "original.npz") as arrays:
        labels = arrays["labels"]
    return Study(directory, read(directory / "original.npz"), labels)


def info_of(path: Path) -> dict[str, Any]:
    """The figures of a file without its outputs."""
    with np.load(path) as arrays:
        found: dict[str, Any] = json.loads(str(arrays["info"]))
    return found


def read(path: Path) -> Outputs:
    """Read a file that :func:`write` wrote."""
    with np.load(path) as arrays:
        second = arrays["metric_2"] if "metric_2" in arrays.files else None
        return Outputs(arrays["y"], arrays["metric"], second, json.loads(str(arrays["info"])))


def write(path: Path, y: Array, found: Found, info: dict[str, Any], labels: Array | None = None) -> None:
    """Write one file; it is there as a whole or not at all."""
    arrays = {"y": y, "metric": found.metric, "info": np.array(json.dumps(info))}
    if found.metric_2 is not None:
        arrays["metric_2"] = found.metric_2
    if labels is not None:
        arrays["labels"] = labels
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    partial.replace(path)
