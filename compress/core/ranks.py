"""Rank of this process among those that ``torchrun`` started, found without torch."""

from __future__ import annotations

import os


def is_first() -> bool:
    """Whether this process writes the files and the messages; a single process always does."""
    return os.environ.get("RANK", "0") == "0"
