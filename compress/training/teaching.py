"""A teacher that runs once for each sample, where its outputs are small enough to be kept.

Its outputs never change in a training, while the student needs them in every pass over the samples. Those of the first
pass are kept, batch by batch; a resumed training computes the same batches again, so that not a bit differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.training.arithmetic import Arithmetic
from compress.training.processes import Processes
from compress.training.samples import TrainingSamples

#: Outputs are kept up to so many bytes: class scores of any data set, but no maps of pixels.
REMEMBERED_BYTES = 256 << 20


class Teaching:
    """Outputs of the teacher for the batches of one training.

    Args:
        teacher: Module in inference mode that takes the inputs as positional tensors and returns a tuple of tensors.
        samples: Samples to train on and held-out samples.
        arithmetic: Arithmetic that runs the teacher.
        processes: Processes that train together; each computes its part of the first pass, then all get everything.
        steps: Number of steps of the whole training; where they are one pass at the most, nothing is kept.
    """

    def __init__(
        self,
        teacher: nn.Module,
        samples: TrainingSamples,
        arithmetic: Arithmetic,
        processes: Processes,
        steps: int,
    ) -> None:
        self._teacher, self._samples = teacher, samples
        self._arithmetic, self._processes = arithmetic, processes
        self._one_pass = samples.steps_a_pass
        self._keeps = steps > self._one_pass
        self._exchanged = False
        self._known = 0  # steps of the first pass whose outputs are kept
        self._kept: list[Tensor] = []  # each output for all samples that train
        self._held_out: dict[int, tuple[Tensor, ...]] = {}

    def of_step(self, step: int, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs for a step's batch, without gradients."""
        while self._keeps and self._known < min(step, self._one_pass):  # after a resume
            earlier, _ = self._arithmetic.moved(self._samples.batch(self._known))
            self._keep(self._known, self._computed(earlier))
        if step >= self._one_pass and self._all_kept():
            places = torch.from_numpy(self._samples.places(step)).to(self._arithmetic.device)
            return tuple(kept_output[places] for kept_output in self._kept)
        outputs = self._computed(batch)
        if self._keeps and step == self._known < self._one_pass:
            self._keep(step, outputs)
        return outputs

    def of_held_out(self, number: int, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs for a held-out batch, counted from 0, without gradients."""
        if number in self._held_out:
            return self._held_out[number]
        outputs = self._computed(batch)
        if _bytes(outputs) * (number + 1) <= REMEMBERED_BYTES:
            self._held_out[number] = outputs
        return outputs

    def _computed(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return self._arithmetic.outputs(self._teacher, batch)

    def _keep(self, step: int, outputs: tuple[Tensor, ...]) -> None:
        places = self._samples.places(step)
        count = len(self._samples)
        if not self._kept:
            rows = all(
                output.is_floating_point() and output.shape[:1] == (len(places),) for output in outputs
            )
            if not rows or _bytes(outputs) * count > REMEMBERED_BYTES * len(places):
                self._forget()
                return
            self._kept = [output.new_zeros((count, *output.shape[1:])) for output in outputs]
        if any(
            buffer.shape[1:] != output.shape[1:] for buffer, output in zip(self._kept, outputs, strict=True)
        ):
            self._forget()
            return
        # The pass's last batch ends in the next pass, with samples that are kept already.
        new = np.arange(step * self._samples.batch_size, (step + 1) * self._samples.batch_size) < count
        new = new[self._processes.part(self._samples.batch_size)]
        for buffer, output in zip(self._kept, outputs, strict=True):
            buffer[torch.from_numpy(places[new]).to(buffer.device)] = output[
                torch.from_numpy(new).to(output.device)
            ]
        self._known = step + 1

    def _all_kept(self) -> bool:
        """Whether every process keeps its part; if so, exchange the parts."""
        if not self._exchanged:
            self._exchanged = True
            keeping = torch.tensor([float(self._keeps)], device=self._arithmetic.device)
            self._processes.sum([keeping])
            if float(keeping) < self._processes.count:
                self._forget()
            else:
                self._processes.sum(self._kept)  # zeros but for the own part
        return self._keeps

    def _forget(self) -> None:
        self._keeps, self._kept = False, []


class RememberingTeacher(nn.Module):
    """Trained network that computes the outputs of each batch only once.

    Several students see the same batches in the same order, so the teacher need not run again for each.

    Args:
        network: Network in inference mode; a copy of this module shares it and the remembered outputs.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()
        self._outputs: dict[bytes, tuple[Tensor, ...]] = {}
        self._bytes = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> RememberingTeacher:
        return self

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the network's outputs, as a tuple, without gradients."""
        key = _digest(inputs)
        if key not in self._outputs:
            with torch.no_grad():
                result = self.network(*inputs)
            outputs = tuple(result) if isinstance(result, list | tuple) else (result,)
            if self._bytes + _bytes(outputs) > REMEMBERED_BYTES:
                return outputs
            self._outputs[key] = outputs
            self._bytes += _bytes(outputs)
        return self._outputs[key]


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _digest(inputs: tuple[Tensor, ...]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for tensor in inputs:
        cast = torch.is_autocast_enabled(tensor.device.type)
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.device} {cast}".encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.digest()
