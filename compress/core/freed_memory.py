"""Give memory that Python has freed back to the system: glibc keeps it otherwise, gigabytes of it for a large network.

The processes that are timed next then have all free memory.
"""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collect garbage and give freed memory back; on other systems than Linux with glibc, collect garbage alone."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
