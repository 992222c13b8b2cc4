"""Which of the processes that ``torchrun`` started this one is, told without torch."""

from __future__ import annotations

import os


def is_first() -> bool:
    """Whether this is the process that writes files and tells what was done; a process that is alone is."""
    return os.environ.get("RANK", "0") == "0"
