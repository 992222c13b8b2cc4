"""The directory of a run, in which all measurements are stored at once, so that a killed run can be resumed.

A run lives in ``<out>.partial/`` beside the bundle it will become: ``run.json`` says what the measurements belong
to, ``history.jsonl`` has one line per candidate, ``candidates/`` their files. A lock keeps a second run out. Nothing in
it is believed unchecked: the directory carries this user's mark (:mod:`compress.core.own_directories`), and what is
read back carries the hash of its content; what does not is measured again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from compress.backends.base import Artifact
from compress.core.digests import content_as_written, line_with_digest
from compress.core.files import written_safely
from compress.core.json_text import json_text
from compress.core.own_directories import LOCK, MARK, locked, remove_own
from compress.core.replacing import replaced_whole
from compress.core.typed_records import check_types
from compress.onnx_graph.files import sha256_of
from compress.recipe import Origin, Recipe
from compress.records.profile import Profile
from compress.search.run_key import RunKey

#: How a record's reason begins where the recipe could not be applied, or its build not made or run.
_FAILED = "failed: "


@dataclass(frozen=True)
class Candidate:
    """One recipe and its outcome.

    Attributes:
        recipe: The recipe that was applied.
        profile: Measurements of the build; None where it could not be built or run.
        file: The artifact, relative to the run's directory; None where there is none.
        failure: Reason why the recipe could not be applied, or its build not made or run; None for every other
            candidate.
        passed_over: Reason why a build that was made was not judged; None for every other candidate.
        reports: Report of each technique, by the technique's name.
        seconds: Wall time from recipe to profile, in seconds.
    """

    recipe: Recipe
    profile: Profile | None = None
    file: str | None = None
    failure: str | None = None
    passed_over: str | None = None
    reports: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def rejected(self) -> str | None:
        """Reason, for the user, why there is no profile; None where there is one."""
        return self.passed_over if self.failure is None else f"{_FAILED}{self.failure}"

    def to_dict(self) -> dict[str, Any]:
        """Return the dict that a line of ``candidates.jsonl`` holds."""
        return {
            "recipe": self.recipe.to_dict(),
            "origin": self.recipe.origin,
            "profile": None if self.profile is None else self.profile.to_dict(),
            "file": self.file,
            "rejected": self.rejected,
            "reports": self.reports,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Candidate:
        """Read back what :meth:`to_dict` returned.

        Raises:
            Exception: KeyError, TypeError or ValueError, where the dict is no candidate, or a value is of another type.
        """
        recipe = Recipe.from_dict(data["recipe"])
        failure, passed_over = _reasons(data["rejected"])
        candidate = cls(
            recipe=replace(recipe, origin=data.get("origin", _earlier_origin(recipe))),
            profile=None if data["profile"] is None else Profile.from_dict(data["profile"]),
            file=data["file"],
            failure=failure,
            passed_over=passed_over,
            reports=data["reports"],
            seconds=data["seconds"],
        )
        check_types(candidate)
        return candidate


def _reasons(rejected: str | None) -> tuple[str | None, str | None]:
    """Return the failure of a record, and why its build was not judged, from the one reason that the record holds."""
    if rejected is None:
        return None, None
    if not isinstance(rejected, str):
        raise TypeError(f"'rejected' is a {type(rejected).__name__} and no str")
    if rejected.startswith(_FAILED):
        return rejected.removeprefix(_FAILED), None
    return None, rejected


def _earlier_origin(recipe: Recipe) -> Origin:
    """Return the origin of a recipe that an earlier version of compress recorded without it."""
    return "search" if recipe.steps or recipe.backend or recipe.session else "network"


class RunDirectory:
    """The candidates of one run; a context manager that holds the run's lock.

    Args:
        directory: Directory of the run.
        key: Everything that the measurements depend on; a directory with another key is emptied.

    Attributes:
        candidates: Candidates that this run tried or took over, in its own order; the original first.
        resumed: Number of candidates that an earlier, unfinished run had recorded.
        damaged: Number of damaged records of an earlier run; these candidates are measured again.

    Raises:
        OutputError: The directory cannot be written, was not made by compress, or another run is at work in it.
    """

    def __init__(self, directory: Path, key: RunKey) -> None:
        self.directory = directory
        self.candidates: list[Candidate] = []
        self.resumed = 0
        self.damaged = 0
        self._kept: dict[str, Candidate] = {}
        self._key = json.loads(
            json_text(key.to_dict())
        )  # As it is read back: with lists where there were tuples.
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self._lock = locked(self.directory)
        if self._stored_key() != self._key:
            self._start_anew()
        # Where one was tried again, what was recorded last.
        self._kept = {candidate.recipe.identity: candidate for candidate in self._read()}
        return self

    def __exit__(self, *_: object) -> None:
        if not self.candidates and not self._kept:
            self.remove()
        if self._lock is not None:
            os.close(self._lock)  # the last of all: who waits for it finds nothing half removed
            self._lock = None

    def find(self, recipe: Recipe) -> Candidate | None:
        """Return this run's candidate of a recipe; None where it was not tried."""
        tried = (entry for entry in self.candidates if entry.recipe.identity == recipe.identity)
        return next(tried, None)

    def kept(self, recipe: Recipe) -> Candidate | None:
        """Return the candidate that an earlier, unfinished run recorded for a recipe, under the recipe's present name.

        It is not among this run's candidates until it is taken over.
        """
        candidate = self._kept.get(recipe.identity)
        if candidate is None:
            return None
        profile = None if candidate.profile is None else replace(candidate.profile, recipe=recipe.name)
        return replace(candidate, recipe=recipe, profile=profile)

    def take_over(self, candidate: Candidate) -> None:
        """Add a candidate that an earlier run recorded to this run's candidates."""
        self.candidates.append(candidate)
        self.resumed += 1

    def forget_without(self, original: Recipe) -> None:
        """Discard all records where the original, which they were compared with, is missing or changed."""
        if self._kept and (original.identity not in self._kept or not self._reference_is_intact()):
            self._kept.clear()
            self._start_anew()

    def directory_of(self, recipe: Recipe) -> Path:
        """Make an empty directory for a candidate's files."""
        directory = self.directory / "candidates" / recipe.identity
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory

    def record(self, candidate: Candidate) -> None:
        """Append a candidate; it is on disk when this returns.

        Raises:
            OutputError: The disk is full, or the directory is gone.
        """
        line = line_with_digest(candidate.to_dict()) + "\n"
        with (
            written_safely(self.directory),
            (self.directory / "history.jsonl").open("a", encoding="utf-8") as file,
        ):
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.candidates.append(candidate)

    @property
    def outputs(self) -> Path:
        """Path of the original's kept outputs on the evaluation data; see :mod:`compress.profiling.kept_outputs`."""
        return self.directory / "outputs"

    def keep_reference(self, fastest: Mapping[int, Artifact]) -> None:
        """Store the fp32 build that ratios refer to at each batch size; see :class:`compress.hosts.base.Reference`."""
        references = {
            batch: {**asdict(reference), "path": str(reference.path)} for batch, reference in fastest.items()
        }
        with replaced_whole(self.directory / "reference.json") as written:
            written.write_text(
                line_with_digest({str(batch): reference for batch, reference in references.items()}),
                encoding="utf-8",
            )

    def reference(self) -> dict[int, Artifact]:
        """Return what :meth:`keep_reference` stored; empty where nothing is stored."""
        try:
            return self._reference()
        except (OSError, ValueError):
            return {}

    def _reference(self) -> dict[int, Artifact]:
        references = content_as_written((self.directory / "reference.json").read_bytes())
        return {
            int(batch): Artifact(**{**reference, "path": Path(reference["path"])})
            for batch, reference in references.items()
        }

    def _reference_is_intact(self) -> bool:
        """Whether every file that ratios of an earlier run refer to is unchanged."""
        try:
            return all(
                sha256_of(reference.path) == reference.sha256 for reference in self._reference().values()
            )
        except (OSError, TypeError, ValueError, AttributeError):
            return False

    def path_of(self, candidate: Candidate) -> Path:
        """Return the path of a candidate's artifact."""
        if candidate.file is None:
            raise ValueError(f"candidate '{candidate.recipe.name}' has no artifact")
        return self.directory / candidate.file

    def remove(self) -> None:
        """Delete the run's directory: it became a bundle, or nothing came of it."""
        remove_own(self.directory)

    def _stored_key(self) -> dict[str, Any] | None:
        try:
            return content_as_written((self.directory / "run.json").read_bytes())
        except (OSError, ValueError):
            return None

    def _start_anew(self) -> None:
        with written_safely(self.directory):
            for entry in self.directory.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name not in (LOCK, MARK):
                    entry.unlink()
        with replaced_whole(self.directory / "run.json") as written:
            written.write_text(line_with_digest(self._key), encoding="utf-8")

    def _read(self) -> Iterator[Candidate]:
        path = self.directory / "history.jsonl"
        if not path.exists():
            return
        whole_lines = []
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                candidate = Candidate.from_dict(content_as_written(line))
                intact = self._intact(candidate)
            except (ValueError, KeyError, TypeError, AttributeError):
                intact = False
            if intact:
                whole_lines.append(line)
                yield candidate
            elif line.endswith(b"\n"):  # else a kill cut it short
                self.damaged += 1
        with replaced_whole(path) as written:
            written.write_bytes(b"".join(whole_lines))

    def _intact(self, candidate: Candidate) -> bool:
        if candidate.profile is None:
            return True
        path = self.path_of(candidate)
        if not path.is_file() or not path.resolve().is_relative_to(self.directory.resolve()):
            return False
        return sha256_of(path) == candidate.profile.artifact_sha256
