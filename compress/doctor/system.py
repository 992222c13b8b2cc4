"""This machine: processor, memory, GPU, and the programs that lead to boards."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.backends.tensorrt import TRTEXEC
from compress.errors import UnavailableError
from compress.hosts.board import tool_release
from compress.machine.machine import Cpu, Gpu, cpu, gpu


@dataclass(frozen=True)
class System:
    """Description of a machine.

    Attributes:
        python: Release of Python.
        os: Name and release of the operating system.
        cpu: Processor of the machine.
        threads: Number of hardware threads that this process may use.
        gpu: NVIDIA GPU of the machine; None without one.
        no_gpu: Reason why there is no GPU; None with one.
        trtexec: Path of TensorRT's tool; None where there is none.
        tensorrt: Release of TensorRT; None where there is none.
        ssh: Path of the ssh client, which connects to boards; None where there is none.
    """

    python: str
    os: str
    cpu: Cpu
    threads: int
    gpu: Gpu | None
    no_gpu: str | None
    trtexec: str | None
    tensorrt: str | None
    ssh: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)


def system() -> System:
    """Return the description of this machine."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    try:
        card, no_card = gpu(), None
    except UnavailableError as error:
        card, no_card = None, error.found
    tool = shutil.which("trtexec") or (TRTEXEC if Path(TRTEXEC).exists() else None)
    return System(
        python=platform.python_version(),
        os=f"{platform.system()} {platform.release()}",
        cpu=cpu(),
        threads=len(affinity(0)) if affinity else os.cpu_count() or 1,
        gpu=card,
        no_gpu=no_card,
        trtexec=tool,
        tensorrt=None if tool is None else _release(tool),
        ssh=shutil.which(shlex.split(os.environ.get("COMPRESS_SSH", "ssh"))[0]),
    )


def _release(tool: str) -> str | None:
    try:
        done = subprocess.run([tool, "--help"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tool_release(done.stdout + done.stderr)
