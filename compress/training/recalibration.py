"""Recalibration of batch-norm statistics, which a network still carries from its former weights.

Cutting, averaging or training weights shifts the inputs of a batch norm. Its mean and variance are measured again as
the plain average over some batches (momentum 1/k at the k-th), without touching any weight. As in Izmailov et al. 2018,
arXiv 1803.05407, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return every batch norm that keeps running statistics."""
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]


def statistics_of(module: nn.Module) -> list[Tensor]:
    """Return the running means and variances of every batch norm."""
    return [
        statistic
        for norm in batch_norms(module)
        for statistic in (norm.running_mean, norm.running_var)
        if statistic is not None
    ]


def has_variances(module: nn.Module, batch: Sequence[Tensor]) -> bool:
    """Whether every batch norm gets more than one value per channel in such a batch; a single one has no variance.

    Args:
        module: Module, which is run once and ends in inference mode.
        batch: One batch of every input.
    """
    values: list[int] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values.append(inputs[0].numel() // inputs[0].shape[1])

    hooks = [norm.register_forward_pre_hook(note) for norm in batch_norms(module)]
    try:
        with torch.no_grad():
            module.eval()(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    return all(value > 1 for value in values)


def recalibrate(module: nn.Module, batches: Iterable[Sequence[Tensor]]) -> None:
    """Set every batch norm's running statistics to their average over these batches; one pass, nothing is trained.

    Args:
        module: Module, which ends in inference mode. Without a batch norm, nothing is read.
        batches: Batches of inputs, as the module takes them; of one size, so that all weigh the same.
    """
    norms = batch_norms(module)
    if not norms:
        return
    module.eval()  # dropout stays off
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                module(*batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()
