"""Batch norms in training: what they are measured on anew, and batches that are too small for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.data.arrays import ArraySplit
from compress.errors import RecipeError
from compress.training import loop
from compress.training.loop import train
from compress.training.losses import Distillation
from compress.training.processes import Processes
from compress.training.recalibration import has_variances, recalibrate
from compress.training.settings import TrainingOptions


class Small(nn.Module):
    """Takes so many images at once, as a network that was exported with a fixed batch does; -1 takes any number."""

    def __init__(self, seed: int, batch: int = 1, flat: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.batch = batch
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.norm = nn.BatchNorm1d(16) if flat else nn.Identity()
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.head(self.norm(self.body(x.reshape(self.batch, 1, 4, 4)))),)


def images(count: int = 60) -> ArraySplit:
    noise = np.random.default_rng(0)
    return ArraySplit.from_arrays({"x": noise.normal(size=(count, 1, 4, 4)).astype(np.float32)})


def test_a_network_of_fixed_batch_1_trains_norms_that_see_several_positions():
    settings = TrainingOptions(epochs=3, batch_size=1, learning_rate=1e-2)
    student = Small(1)
    report = train(student, Small(0), images(), Distillation(True), settings, inputs=["x"])
    assert report.stopped == "finished"
    assert report.held_out_losses[report.best_epoch] < 0.5 * report.held_out_losses[0]
    assert not student.body[1]._forward_pre_hooks


def test_norms_that_would_see_a_single_value_are_refused_with_a_way_out():
    settings, student = TrainingOptions(batch_size=1), Small(1, flat=True)
    with pytest.raises(RecipeError, match=r"batch_size of 1 for 1 processes; .* dynamic"):
        train(student, Small(0), images(), Distillation(True), settings, inputs=["x"])


def test_so_are_those_of_a_process_that_gets_a_single_sample(monkeypatch):
    monkeypatch.setattr(loop, "joined", lambda: Processes(0, 2))
    for exchange in ("all_reduce", "broadcast_object_list"):
        monkeypatch.setattr(f"torch.distributed.{exchange}", lambda *_, **__: None)
    settings, student = TrainingOptions(batch_size=3), Small(1, batch=-1, flat=True)
    with pytest.raises(RecipeError, match="batch_size of 3 for 2 processes"):
        train(student, Small(0, batch=-1), images(), Distillation(True), settings, inputs=["x"])


def test_variances_need_two_values():
    one, two = torch.zeros(1, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    assert has_variances(Small(0), [one])
    assert not has_variances(Small(0, flat=True), [one])
    assert has_variances(Small(0, batch=2, flat=True), [two])


def test_statistics_are_those_of_the_batches_alone():
    norm = nn.BatchNorm1d(2)
    norm.running_mean += 100
    batches = [[torch.tensor([[1.0, 0.0], [3.0, 0.0]])], [torch.tensor([[5.0, 2.0], [7.0, 6.0]])]]
    recalibrate(norm, batches)
    assert norm.running_mean.tolist() == [4, 2]
    assert norm.running_var.tolist() == [2, 4]
    assert norm.momentum == 0.1
    assert not norm.training
