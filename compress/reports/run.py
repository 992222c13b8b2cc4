"""A finished run, read from its bundle: the source of every report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.bundle.bundle import Bundle, load_bundle
from compress.errors import BundleError
from compress.records.profile import Profile
from compress.records.schemas.checking import fault_in
from compress.reports.timings import aligned
from compress.search.decision import Choice, pareto_front
from compress.search.run_directory import Candidate

CANDIDATES = "candidates.jsonl"

#: What reports read of the manifest, beyond what every bundle has.
_TOLD = ("name", "reason", "target", "network", "data", "options", "versions")


@dataclass(frozen=True)
class Run:
    """Content of a bundle, read and checked.

    Attributes:
        manifest: Content of manifest.json.
        profile: Profile of the build that was shipped, with the outcome of every sample.
        choice: Choice that was made, with its reason.
        candidates: All candidates that were tried, the original first.
        directory: Directory of the bundle, as it was given.
    """

    manifest: dict[str, Any]
    profile: Profile
    choice: Choice
    candidates: tuple[Candidate, ...]
    directory: Path

    @property
    def shipped(self) -> str:
        """Name of the recipe that was shipped."""
        return str(self.manifest["name"])

    @property
    def original(self) -> Profile | None:
        """Profile of the network in fp32."""
        return self.candidates[0].profile

    @property
    def estimated(self) -> bool:
        """Whether latencies were estimated, since the target was not at hand."""
        return self.profile.latency[0].source == "estimated"


def read_run(directory: Path) -> Run:
    """Read a bundle, check every file against its sha256, and read all candidates.

    Raises:
        BundleError: There is no bundle, it was changed or damaged, or it records no run.
    """
    return run_of(load_bundle(directory))


def run_of(bundle: Bundle) -> Run:
    """Read all candidates of a bundle that is read and checked.

    Raises:
        BundleError: The bundle records no run.
    """
    directory = bundle.path
    try:
        if CANDIDATES not in bundle.manifest["files"]:
            raise BundleError(
                f"a bundle with {CANDIDATES}",
                f"none in {directory}",
                "give one that compress optimize wrote",
            )
        missing = [key for key in _TOLD if key not in bundle.manifest]
        if missing or not bundle.profile.latency:
            raise BundleError(
                "a bundle that tells of a run",
                f"no {missing[0] if missing else 'latency'} in {directory}",
                "give one that compress optimize wrote",
            )
        verdicts: dict[str, str] = {}
        candidates = tuple(aligned(list(_candidates(directory / CANDIDATES, verdicts))))
        if not candidates or candidates[0].profile is None:
            raise ValueError("the original, which comes first, has no profile")
        shipped = next(entry for entry in candidates if entry.recipe.name == bundle.manifest["name"])
        choice = Choice(shipped, bundle.manifest["reason"], verdicts, pareto_front(candidates))
        return Run(bundle.manifest, bundle.profile, choice, candidates, directory)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise BundleError(
            "everything that was tried, as compress optimize writes it",
            f"{directory / CANDIDATES}: {type(error).__name__} {error}",
            "build it again",
        ) from error


def _candidates(path: Path, verdicts: dict[str, str]) -> Iterator[Candidate]:
    for line in path.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        fault = None if data["profile"] is None else fault_in(data["profile"], "profile")
        if fault is not None:
            raise ValueError(f"a profile with {fault}")
        candidate = Candidate.from_dict({**data, "file": None})
        verdicts[candidate.recipe.name] = str(data["verdict"])
        yield candidate
