"""The teacher runs once for each sample, and the training does not change by that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.data.arrays import ArraySplit
from compress.training import teaching
from compress.training.arithmetic import Arithmetic
from compress.training.processes import Processes
from compress.training.samples import TrainingSamples
from compress.training.teaching import Teaching

STEPS = 40


class Doubling(nn.Module):
    """Counts the samples it was run on."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = 0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.samples += len(x)
        return 2 * x, x.sum(1)


def samples(processes: Processes = Processes(0, 1)) -> TrainingSamples:  # noqa: B008 - a frozen value
    """70 that train, in batches of 16: the fifth batch ends in the second pass."""
    data = ArraySplit.from_arrays({"x": np.random.default_rng(0).normal(size=(86, 3)).astype(np.float32)})
    return TrainingSamples(data, ["x"], 16, 0.1, seed=0, processes=processes)


def taught(steps: range, teacher: nn.Module, total: int = STEPS) -> None:
    """Every step's outputs are those of its own samples."""
    found = samples()
    known = Teaching(teacher, found, Arithmetic("float32"), Processes(), total)
    for step in steps:
        (x,), _ = found.batch(step)
        doubled, sums = known.of_step(step, (x,))
        assert torch.equal(doubled, 2 * x)
        assert torch.equal(sums, x.sum(1))


@pytest.mark.parametrize("first", [0, 2, 5, 23])
def test_one_pass_is_computed_and_the_others_are_remembered(first):
    teacher = Doubling()
    taught(range(first, STEPS), teacher)
    assert len(samples()) == 70
    assert teacher.samples == 5 * 16


def test_a_training_of_one_pass_keeps_nothing_to_go_on():
    teacher = Doubling()
    taught(range(2, 5), teacher, total=5)
    assert teacher.samples == 3 * 16


@pytest.mark.parametrize("limit", [0, 70 * 4 * 4 - 1])
def test_what_is_too_large_is_computed_in_every_step(monkeypatch, limit):
    monkeypatch.setattr(teaching, "REMEMBERED_BYTES", limit)
    teacher = Doubling()
    taught(range(STEPS), teacher)
    assert teacher.samples == STEPS * 16


def test_outputs_that_are_not_one_row_a_sample_are_not_kept():
    class Mean(Doubling):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            super().forward(x)
            return (x.mean(0),)

    teacher, found = Mean(), samples()
    known = Teaching(teacher, found, Arithmetic("float32"), Processes(), STEPS)
    for step in range(STEPS):
        (x,), _ = found.batch(step)
        assert torch.equal(known.of_step(step, (x,))[0], x.mean(0))


def test_held_out_batches_are_computed_once():
    teacher, found = Doubling(), samples()
    known = Teaching(teacher, found, Arithmetic("float32"), Processes(), STEPS)
    for _ in range(3):
        for number, ((x,), _) in enumerate(found.held_out_batches()):
            assert torch.equal(known.of_held_out(number, (x,))[0], 2 * x)
    assert teacher.samples == found.held_out == 16
