"""A cache of what takes long to make, by all that went into it, on this machine and for this user.

An entry is a directory that carries this user's mark (:mod:`compress.core.own_directories`) and that only this user may
read. What lies in it is believed only where its own hash says that it is whole: each writer adds one. Whatever else is
found under an entry's name is left alone, and made again elsewhere. Several processes may use a cache at once: files
appear whole or not at all, and the last of two alike stays.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compress.core.own_directories import is_own, own_directory, remove_own
from compress.core.places import cache_directory
from compress.core.versions import versions
from compress.errors import OutputError

#: Bytes that all entries together may take: 10 GB.
MOST_BYTES = 10_000_000_000
#: Seconds after which an entry that nobody used is deleted: 60 days.
LONGEST_S = 60 * 86_400.0
#: Seconds since its last use within which an entry is never deleted: somebody may be at work in it.
_IN_USE_S = 3600.0

#: Names of the directories of entries, below the cache.
STEPS, LAYER_TIMES = "steps", "layer-times"


@dataclass(frozen=True)
class ContentCache:
    """A cache of directories by content.

    Attributes:
        root: Directory of the cache.
        note: Receives a sentence where something in it cannot be used, each once.
    """

    root: Path
    note: Callable[[str], None] = lambda _: None
    _noted: set[str] = field(default_factory=set, compare=False)

    @classmethod
    def of(cls, given: str | Path | None, note: Callable[[str], None]) -> ContentCache | None:
        """Return the user's cache, with what is old or too much deleted; None where none is wanted.

        Args:
            given: Directory, ``off``, or None for the default.
            note: Receives sentences about what cannot be used.
        """
        if str(given) == "off":
            return None
        root = cache_directory() if given is None else Path(given) / f"user-{os.geteuid()}"
        cache = cls(root, note)
        cache.prune()
        return cache

    def directory(self, kind: str, content: Mapping[str, Any] | None = None) -> Path | None:
        """Return the directory of an entry, made where it is missing.

        Args:
            kind: :data:`STEPS` or :data:`LAYER_TIMES`.
            content: Everything that the entry's content depends on, besides the version and the code of compress, for
                JSON; None for a directory whose files have keys of their own.

        Returns:
            The directory; None where it cannot be made, or is not this user's.
        """
        path = self.root / kind
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if content is None:
                _make_own(path)
            else:
                path.mkdir(exist_ok=True, mode=0o700)
                _check_users(path)
                path = path / _name(content)
                _make_own(path)
            os.utime(path)
        except (OSError, OutputError) as error:
            reason = error.found if isinstance(error, OutputError) else error.strerror or str(error)
            self.say(f"the cache in {path} is not used: {reason}")
            return None
        return path

    def say(self, sentence: str) -> None:
        """Tell the user a sentence, once."""
        if sentence not in self._noted:
            self._noted.add(sentence)
            self.note(sentence)

    def prune(self, most_bytes: int = MOST_BYTES, longest_s: float = LONGEST_S) -> None:
        """Delete entries that nobody used for long, and the least recently used ones above a size.

        Args:
            most_bytes: Bytes that may stay.
            longest_s: Seconds since the last use after which an entry goes.
        """
        now, kept = time.time(), 0
        for used, path in sorted(self._entries(), reverse=True):
            kept += _bytes_in(path)
            age = now - used
            if age > max(longest_s, _IN_USE_S) or (kept > most_bytes and age > _IN_USE_S):
                remove_own(path)

    def _entries(self) -> list[tuple[float, Path]]:
        entries = []
        for path in (self.root / STEPS).glob("*"):
            with contextlib.suppress(OSError):  # it went meanwhile
                if is_own(path):
                    entries.append((path.stat().st_mtime, path))
        return entries


def _make_own(path: Path) -> None:
    """Make a directory of our own that appears with its mark, so that processes which make it at once share it."""
    if is_own(path):
        return
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    own_directory(scratch)
    try:
        scratch.rename(path)
    except OSError:  # another process made it meanwhile, or something else is there
        remove_own(scratch)
    own_directory(path)


def _check_users(path: Path) -> None:
    """Refuse a directory of entries into which another user could put some."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it belongs to another user")


def _name(content: Mapping[str, Any]) -> str:
    identity = {**content, "versions": versions(), "code": code_sha256()}
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:32]


@functools.cache
def code_sha256() -> str:
    """Return a hash of the source of compress: between two releases, one version is many."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _bytes_in(path: Path) -> int:
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total
