"""A run of ``compress`` that is killed for real in the middle of a training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

#: Checkpoints are written at every step, and there is time to kill it behind each.
LAUNCH = """
import sys, time
from compress.training import checkpoint, loop
loop.SAVE_SECONDS = 0.0
save = checkpoint.save
def slowly(*arguments):
    save(*arguments)
    time.sleep(0.1)
checkpoint.save = slowly
from compress.cli import main
sys.exit(main(sys.argv[1:]))
"""


def killed_in_training(arguments: list[str], place: Path, kept: Path) -> Path:
    """Give a command in ``place``, kill it once there is a checkpoint below ``kept``, and tell which."""
    running = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *arguments], cwd=place, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    while not checkpoints(kept) and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    (checkpoint,) = checkpoints(kept)
    return checkpoint


def checkpoints(kept: Path) -> list[Path]:
    """Those that are written whole; one that is being written is in a scratch directory, which may vanish meanwhile."""
    return [
        Path(directory, "distill.pt")
        for directory, _, files in os.walk(kept)
        if "distill.pt" in files and not Path(directory).name.startswith(".compress-")
    ]
