"""The order of numbers in memory that convolutions in 16 bits run fastest on: channels last.

oneDNN on CPUs and cuDNN's tensor cores compute in it and convert anything else at every layer. Values are the same; so
are shapes and strides once training is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def channels_last(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Give every 4-D parameter and buffer channels-last order inside the block, and contiguous order after it."""
    _ordered(modules, torch.channels_last)
    try:
        yield
    finally:
        _ordered(modules, torch.contiguous_format)


def runs_channels_last(modules: Sequence[nn.Module], run: Callable[[nn.Module], object]) -> bool:
    """Whether each of these modules, already in channels-last order, can be run.

    One that flattens by ``view`` cannot: that needs the order it was written for.
    """
    for module in modules:
        training = module.training
        try:
            with torch.no_grad():
                run(module.eval())
        except RuntimeError:
            return False
        finally:
            module.train(training)
    return True


def has_planes(modules: Sequence[nn.Module]) -> bool:
    """Whether a module has a 4-D parameter, whose memory order matters."""
    return any(value.dim() == 4 for module in modules for value in module.parameters())


def ordered(tensor: Tensor, layout: torch.memory_format) -> Tensor:
    """Return a 4-D tensor in this memory order; other tensors unchanged."""
    return tensor.contiguous(memory_format=layout) if tensor.dim() == 4 else tensor


def _ordered(modules: Sequence[nn.Module], layout: torch.memory_format) -> None:
    for module in modules:
        for value in (*module.parameters(), *module.buffers()):
            value.data = ordered(value.data, layout)
