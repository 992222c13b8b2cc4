"""Several processes train one network: each takes its part of every batch, and all take the same step.

``torchrun`` starts them and says in the environment who is who (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), on one
machine or several; gloo carries the numbers between CPUs, nccl between GPUs. One sum a step over all processes holds
the gradients, weighted by each part's share of the batch, so that a loss that is a mean over samples has the very
gradient it has in one process.

A batch norm normalises each process's part by that part's own statistics (ghost batches, Hoffer et al. 2017,
arXiv 1705.08741), since synchronised ones do not run on CPUs; the running statistics are averaged whenever they are
taken anew, before the network is judged. So after every step all processes hold the same weights, after every epoch
the same buffers, and the first one alone writes them to disk.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from compress.errors import UnavailableError

_ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes, ≥ 1.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports the progress."""
        return self.rank == 0

    def part(self, size: int) -> slice:
        """Return this process's part of ``size`` items; together the parts cover every item once."""
        return slice(size * self.rank // self.count, size * (self.rank + 1) // self.count)

    def share(self, size: int) -> float:
        """Return the share of ``size`` items that is this process's, in [0, 1]."""
        return len(range(size)[self.part(size)]) / size

    def sum(self, tensors: Sequence[Tensor], weight: float = 1.0) -> None:
        """Replace each tensor by its weighted sum over all processes, in one exchange for all tensors.

        Raises:
            UnavailableError: Another process has ended.
        """
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]) * weight
        with _together(self.count):
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def broadcast(self, value: Any) -> Any:
        """Return the first process's value in every process; any value that pickles, tensors too.

        Raises:
            UnavailableError: Another process has ended.
        """
        if self.count == 1:
            return value
        values = [value if self.first else None]
        with _together(self.count):
            dist.broadcast_object_list(values, src=0)
        return values[0]


def joined() -> Processes:
    """Join the processes that ``torchrun`` started; else return this one alone.

    Raises:
        UnavailableError: The others cannot be reached.
    """
    if not dist.is_available():
        return Processes()
    if not dist.is_initialized():
        if any(name not in os.environ for name in _ENVIRONMENT) or os.environ["WORLD_SIZE"] == "1":
            return Processes()
        try:
            # Of a network that trains on processors, gloo carries the numbers on a machine with GPUs too.
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        except (RuntimeError, ValueError) as error:
            raise UnavailableError(
                f"{os.environ['WORLD_SIZE']} processes that train together",
                str(error),
                "start them with torchrun",
            ) from error
        atexit.register(_leave)
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def _together(count: int) -> Iterator[None]:
    """Turn the missing answer of an ended process into an error."""
    try:
        yield
    except RuntimeError as error:
        raise UnavailableError(
            f"{count} processes that train together",
            f"one that has ended ({error})",
            "run the same command again: a training that was saved goes on",
        ) from error


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
