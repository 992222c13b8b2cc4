"""The profiles below a directory, each checked as the gate checks a baseline, in the order of time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compress.bundle.bundle import MANIFEST, load_bundle
from compress.bundle.profile_file import load_recorded
from compress.core.bounded_reading import read_text
from compress.errors import BundleError

if TYPE_CHECKING:
    from compress.records.profile import Profile

_RECORD = "record one with compress profile --out, or give the directory of your bundles"

#: A key that every profile has, and no other JSON that compress writes has at its top.
_MARK = "artifact_sha256"


@dataclass(frozen=True)
class Recording:
    """One profile of the directory.

    Attributes:
        path: Path of the profile's file, or of the bundle's directory.
        network: Name of the network: the profile's own, the bundle's, or the file's name up to its first dot.
        when: Time of the measurement, or of writing the bundle; None where neither is recorded.
        profile: The recorded profile.
    """

    path: Path
    network: str
    when: datetime | None
    profile: Profile


@dataclass(frozen=True)
class Recordings:
    """The recordings in a directory.

    Attributes:
        entries: Recordings in the order of time; those without a time come first, in the order of their paths.
        others: Number of JSON files that are not profiles.
    """

    entries: tuple[Recording, ...]
    others: int

    @property
    def untimed(self) -> int:
        """Number of recordings without a time, which are sorted by their paths."""
        return sum(entry.when is None for entry in self.entries)


def read_recordings(directory: Path) -> Recordings:
    """Read every profile and bundle below a directory; names that start with a dot are passed over.

    Raises:
        BundleError: The path is no directory, holds no profile, or one that is damaged or was changed.
    """
    if not directory.is_dir():
        problem = f"a file, {directory}" if directory.exists() else f"nothing at {directory}"
        raise BundleError("a directory of profiles", problem, "correct the path")
    recordings: list[Recording] = []
    others = 0
    for path in _sources(directory):
        recording = _of_bundle(path) if path.is_dir() else _of_file(path)
        if recording is None:
            others += 1
        else:
            recordings.append(recording)
    if not recordings:
        other_files = f"{others} JSON files of other kinds" if others else "none"
        raise BundleError(f"profiles below {directory}", other_files, _RECORD)
    return Recordings(tuple(sorted(recordings, key=_order)), others)


def _sources(directory: Path) -> Iterator[Path]:
    """Return the directories of bundles, and the JSON files outside them."""

    def refuse(error: OSError) -> None:
        raise BundleError(
            "a directory that can be read", f"{error.filename}: {error.strerror}", "check its permissions"
        ) from error

    for place, directories, files in os.walk(directory, onerror=refuse):
        if MANIFEST in files:
            directories.clear()
            yield Path(place)
            continue
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        yield from (
            Path(place, name) for name in sorted(files) if name.endswith(".json") and not name.startswith(".")
        )


def _of_bundle(directory: Path) -> Recording:
    bundle = load_bundle(directory)
    profile = bundle.profile
    named = profile.network or (bundle.network or (directory.name,))[0]
    when = profile.recorded_at or bundle.manifest.get("created")
    return Recording(directory, named, _time(when, directory), profile)


def _of_file(path: Path) -> Recording | None:
    """Read a profile's file; None for other JSON; a profile that was cut short is refused."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise BundleError("JSON that can be read", f"{path}: {error}", "move it elsewhere") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = {_MARK: None} if f'"{_MARK}"' in text else None
    if not isinstance(data, dict) or _MARK not in data:
        return None
    profile = load_recorded(path)
    network = profile.network or path.name.split(".")[0]
    return Recording(path, network, _time(profile.recorded_at, path), profile)


def _time(recorded: object, path: Path) -> datetime | None:
    if recorded is None:
        return None
    try:
        when = datetime.fromisoformat(str(recorded))
    except ValueError as error:
        raise BundleError(
            f"a time as ISO 8601 in {path}", repr(recorded), "record it again with compress profile --out"
        ) from error
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _order(recording: Recording) -> tuple[datetime, str]:
    return recording.when or datetime.min.replace(tzinfo=UTC), str(recording.path)
