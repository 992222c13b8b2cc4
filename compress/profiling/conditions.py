"""The conditions of a measurement: what changes from run to run on one machine, and moves its times.

They are recorded beside the machine's fingerprint and are no part of it: two profiles of one machine may be compared
whatever its load was, and a reader can see what it was.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from compress.machine.machine import cpu

if TYPE_CHECKING:
    from compress.backends.session_options import SessionOptions


def conditions(options: SessionOptions) -> dict[str, Any]:
    """Return the present conditions; call it before the measurement adds its own load.

    Args:
        options: Session options of the build.

    Returns:
        ``intra_op_threads`` and ``spinning`` of the runtime; ``affinity``, the processors that this process may run on;
        ``thread_affinity``, those that the runtime's own threads are bound to; ``governor`` of the first core; and
        ``load_average``, processes that ran or waited during the last minute. None for unknown values.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return {
        "intra_op_threads": options.intra_op_threads,
        "spinning": options.spinning,
        "affinity": sorted(affinity(0)) if affinity else None,
        # ONNX Runtime pins threads of its own accord only where it chooses their number, and here it never does.
        "thread_affinity": list(options.affinity) or None,
        "governor": cpu().governor,
        "load_average": _load_average(),
    }


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):  # Windows has none
        return None
