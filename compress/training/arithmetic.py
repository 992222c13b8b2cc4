"""Device and precision of a training: float32 on CPUs, mixed precision on GPUs.

Micikevicius et al. 2018, arXiv 1710.03740: weights stay in float32, the operators that gain from it run in 16 bits,
and with float16 the loss is scaled so that small gradients do not vanish. bfloat16 has float32's range and needs no
scaling. The GPU's part has not been run on one yet; bfloat16 on a CPU has.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from compress.training.devices import device_of
from compress.training.layout import ordered

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Arithmetic:
    """Arithmetic of a training: moves batches to the device, casts operators that gain from it, scales steps.

    Args:
        precision: Precision of the training: ``float32``, ``bfloat16``, ``float16``, or ``auto``: on a GPU bfloat16
            where it has it, else float16; on a CPU float32, which is deterministic to the bit.
        device: Device to compute on; None for this process's GPU where there is one, else the CPU.

    Attributes:
        device: Device that it computes on.
        dtype: Data type of the operators that gain from a narrower one.
        layout: Memory order of 4-D batches.
    """

    def __init__(self, precision: str = "auto", device: torch.device | None = None) -> None:
        self.device = device or device_of()
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.dtype = _DTYPES.get(precision) or _fastest(self.device)
        self.layout = torch.contiguous_format
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    @property
    def prefers_channels_last(self) -> bool:
        """Whether convolutions run faster with channels last: on GPUs, and on CPUs in bfloat16."""
        return self.device.type == "cuda" or self.dtype == torch.bfloat16

    def outputs(self, network: nn.Module, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return a network's outputs for a batch, floats in float32 at least."""
        with self._cast():
            results = network(*batch)
        return tuple(
            result.float() if result.dtype in (torch.float16, torch.bfloat16) else result
            for result in results
        )

    def moved(
        self, batch: tuple[tuple[Tensor, ...], Tensor | None]
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Return inputs and targets on the device, inputs in the layout."""
        inputs, targets = batch
        return (
            tuple(ordered(tensor.to(self.device), self.layout) for tensor in inputs),
            None if targets is None else targets.to(self.device),
        )

    def gradients(self, loss: Tensor) -> None:
        """Compute the gradients of the loss, scaled with float16."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take a step; with float16 skip it where the scaled gradients were too large, and adapt the scale."""
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint stores."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state that :meth:`state` returned."""
        if state:
            self._scaler.load_state_dict(state)

    def _cast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


def _fastest(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
