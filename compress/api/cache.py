"""List and removal of what compress keeps on this machine, with sizes.

Three kinds of things are kept: what can be built again, in the user's cache directory; results of runs that were
interrupted, beside the file or bundle that they will become; and the key that tells these directories from others.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.core.own_directories import is_own, locked, remove_own
from compress.core.places import cache_directory, key_path
from compress.errors import OutputError, UsageError

#: Ending of the directories where runs that were interrupted keep their results.
PARTIAL = ".partial"


@dataclass(frozen=True)
class Kept:
    """File or directory that compress keeps.

    Attributes:
        kind: Kind of the thing: ``engine``, ``timing cache``, ``program`` (compiled by Torch-TensorRT), ``step``
            (what a step of a recipe made: trained weights, a quantized model), ``layer times``, ``partial`` (results of
            a run that was interrupted, or still goes on) or ``key``.
        path: Path of the file or directory.
        size_bytes: Size of its files, in bytes.
    """

    kind: str
    path: Path
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {"kind": self.kind, "path": str(self.path), "bytes": self.size_bytes}


def kept(directories: Sequence[Path] = ()) -> list[Kept]:
    """Return everything that compress keeps: the cache, results of interrupted runs, and the key.

    Args:
        directories: Directories in which, at any depth, results of interrupted runs are looked for, or such results
            themselves; empty takes the working directory.

    Raises:
        UsageError: One of them is no directory.
    """
    for directory in directories:
        if not directory.is_dir():
            raise UsageError("a directory to look in", f"{directory}, which is none", "correct the path")
    things = [*_cached(), *_partials(directories or [Path.cwd()])]
    key = key_path()
    if _is_users(key):
        things.append(_measured("key", key))
    return things


def remove(things: Sequence[Kept]) -> dict[Path, str]:
    """Delete what :func:`kept` returned, but for the key: without it results elsewhere would belong to nobody.

    Returns:
        The reason for each thing that was left, by its path; the key is not among them.
    """
    not_removed: dict[Path, str] = {}
    measuring = _measuring()
    for thing in things:
        if thing.kind == "partial":
            reason = _remove_partial(thing.path)
        elif thing.kind == "key":
            continue
        elif measuring and thing.kind in ("engine", "timing cache"):
            reason = "a run builds or measures engines on this machine"
        else:
            reason = _delete(thing.path)
        if reason is not None:
            not_removed[thing.path] = reason
    return not_removed


def _cached() -> Iterator[Kept]:
    """Yield what lies in the cache under a name that compress gives; whatever else is there is not ours."""
    base = cache_directory()
    for kind, pattern in (
        ("engine", "engines/*"),
        ("timing cache", "timing-*.cache"),
        ("program", "torch-tensorrt/*"),
        ("step", "steps/*"),
        ("layer times", "layer-times"),
    ):
        for path in sorted(base.glob(pattern)):
            if _is_users(path) and not path.parent.is_symlink():
                yield _measured(kind, path)


def _partials(directories: Sequence[Path]) -> Iterator[Kept]:
    """Yield the directories of interrupted runs that carry our mark; a folder of that name without it is not ours."""
    seen: set[Path] = set()
    for top in directories:
        for place, folders, _ in os.walk(top):  # links are not followed
            path = Path(place)
            if path.resolve().name.endswith(PARTIAL) and is_own(path):
                folders.clear()
                if path.resolve() not in seen:
                    seen.add(path.resolve())
                    yield _measured("partial", path)
            folders.sort()


def _measured(kind: str, path: Path) -> Kept:
    if not path.is_dir():
        return Kept(kind, path, path.lstat().st_size)
    files = (Path(place) / name for place, _, names in os.walk(path) for name in names)
    return Kept(kind, path, sum(_size(file) for file in files))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # it went meanwhile
        return 0


def _is_users(path: Path) -> bool:
    """Whether a file or directory is there, is no link, and belongs to this user."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode)


def _measuring() -> bool:
    """Whether a run holds the lock of the engines on this machine."""
    from compress.hosts.lock import PATH, STALE_SECONDS

    try:
        beat = int((Path(PATH) / "beat").read_text())
    except (OSError, ValueError):
        return False
    return time.time() - beat <= STALE_SECONDS


def _remove_partial(path: Path) -> str | None:
    """Delete results of an interrupted run; return the reason where they are left."""
    if not is_own(path):
        return None  # it went meanwhile
    try:
        lock = locked(path)
    except OutputError as error:
        return error.found.removeprefix(f"{path}: ")
    try:
        remove_own(path)
    finally:
        os.close(lock)
    return "not all of it could be deleted" if path.exists() else None


def _delete(path: Path) -> str | None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return None
