"""Peak memory of loading and running an artifact, taken in a process of its own.

Run as ``python -m compress.profiling.memory`` with a JSON request on standard input; prints one JSON object. A fresh
process is the only way to a peak that belongs to the artifact alone: this one holds torch, the data and other
sessions.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import InternalError

if TYPE_CHECKING:
    from compress.backends.base import Artifact

_STATUS = Path("/proc/self/status")


def peak_memory_mb(artifact: Artifact, batch: int, runs: int = 3) -> float | None:
    """Peak resident memory in MiB above the idle runtime's.

    Args:
        artifact: What to load and run.
        batch: Samples per call, of zeros.
        runs: Calls; the runtime's memory plan settles in the first.

    Returns:
        MiB, or None on a system that does not tell (other than Linux and macOS).

    Raises:
        InternalError: The process that measures failed.
    """
    if not (_STATUS.exists() or sys.platform == "darwin"):
        return None
    request = {**asdict(artifact), "path": str(artifact.path), "batch": batch, "runs": runs}
    result = subprocess.run(
        [sys.executable, "-m", "compress.profiling.memory"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise InternalError(
            "the peak memory of a build",
            result.stderr.strip()[-300:] or "no answer",
            "report this as a defect",
        )
    return float(json.loads(result.stdout)["peak_mb"])


def _measure(request: dict[str, object]) -> float:
    import numpy as np

    from compress.backends import load_backend
    from compress.backends.base import Artifact

    batch, runs = int(str(request.pop("batch"))), int(str(request.pop("runs")))
    artifact = Artifact(**{**request, "path": Path(str(request["path"]))})  # type: ignore[arg-type]
    backend = load_backend(artifact.backend)
    importlib.import_module(backend.runtime)
    idle = _peak_mb()
    with backend.open(artifact) as session:
        feeds = {
            spec.name: np.zeros(
                [size if isinstance(size, int) else 1 for size in spec.with_batch(batch)], spec.dtype
            )
            for spec in session.inputs
        }
        for _ in range(runs):
            session.run(feeds)
        return _peak_mb() - idle


def _peak_mb() -> float:
    if _STATUS.exists():
        # Not ru_maxrss: on Linux that one starts at the parent's peak and would report this process's torch.
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


if __name__ == "__main__":
    print(json.dumps({"peak_mb": _measure(json.load(sys.stdin))}))
