"""Rank of this process among those that ``torchrun`` started, and their number, found without torch."""

from __future__ import annotations

import os


def is_first() -> bool:
    """Whether this process writes the files and the messages; a single process always does."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """Return the number of processes that train together, from 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))
