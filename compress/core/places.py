"""Paths of the files that compress keeps on this machine, apart from those beside the user's."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Return the directory of what can be made again: engines, timing caches and compiled programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compress"


def key_path() -> Path:
    """Return the file of the key that marks directories as made by this user's compress."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "compress" / "key"
