"""The device of a training: the one that is asked for, or this process's GPU where there is one.

``torchrun`` says in the environment which of the machine's processes this is (LOCAL_RANK, LOCAL_WORLD_SIZE). Each takes
a GPU of its own: two on one GPU are slower than one, and nccl, which carries the numbers between GPUs, refuses them.
"""

from __future__ import annotations

import os
import re

import torch

from compress.errors import UnavailableError, UsageError


def device_of(wanted: str = "auto") -> torch.device:
    """Return the device to train on.

    Args:
        wanted: ``cpu``; ``cuda``, a GPU for this process; ``cuda:N``, the GPU with that number, from 0; or ``auto``: a
            GPU where there is one, else the CPU.

    Raises:
        UsageError: No such name, or one GPU for several processes.
        UnavailableError: There is no such GPU, or there are fewer GPUs than processes.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d{1,4}))?", wanted)
    if match is None:
        raise UsageError("a device: auto, cpu, cuda, or cuda:N", repr(wanted), "correct --device")
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    processes, rank = _number("LOCAL_WORLD_SIZE", 1), _number("LOCAL_RANK", 0)
    if match[1] is not None:
        if processes > 1:
            raise UsageError(
                f"a GPU for each of {processes} processes", f"{wanted} for all", "give --device cuda"
            )
        rank = int(match[1])
    if not count:
        raise UnavailableError(
            "a GPU to train on",
            "none that torch can use" if torch.version.cuda else "a torch for processors alone",
            "install torch with CUDA and NVIDIA's driver, or give --device cpu",
        )
    if processes > count:
        raise UnavailableError(
            f"a GPU for each of {processes} processes on this machine",
            f"{count}",
            "start as many processes as there are GPUs (torchrun --nproc-per-node), or give --device cpu",
        )
    if rank >= count:
        raise UnavailableError(
            f"the GPU with the number {rank}", f"{count} here, numbered from 0", "give another --device"
        )
    return torch.device("cuda", rank)


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else default
