"""A command as a user gives it, in a process of its own: what it printed, how long it took and how much memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """End of a command.

    Attributes:
        code: Its exit code; negative where a signal ended it.
        printed: Its standard output.
        told: The last lines of its standard error.
        seconds: Wall time.
        peak_mib: Largest resident memory of the process, without those that it started.
    """

    code: int
    printed: str
    told: str
    seconds: float
    peak_mib: float

    @property
    def internal(self) -> bool:
        """Whether it crashed, or says that the fault is its own."""
        return self.code < 0 or self.code == 5 or self.code > 100 or "Traceback" in self.told


def compress(words: Sequence[str], folder: Path, limit: float) -> Ended:
    """Run ``compress WORDS``.

    Args:
        words: The command line.
        folder: Working directory.
        limit: Seconds after which it is ended.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    begun = time.monotonic()
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    with out.open("w") as printed, err.open("w") as told:
        child = subprocess.Popen(
            [sys.executable, "-m", "compress", *words],
            cwd=folder, env=environment, stdout=printed, stderr=told, start_new_session=True,
        )  # fmt: skip
        peak = 0.0
        while child.poll() is None:
            peak = max(peak, _peak_mib(child.pid))
            if time.monotonic() - begun > limit:
                os.killpg(child.pid, signal.SIGKILL)
            time.sleep(0.05)
    lines = err.read_text(errors="replace").strip().splitlines()
    seconds = time.monotonic() - begun
    return Ended(child.returncode, out.read_text(errors="replace"), "\n".join(lines[-12:]), seconds, peak)


def _peak_mib(process: int) -> float:
    """The largest resident memory so far; what ``wait4`` tells has that of the process that started it in it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
