"""Mixed precision on the CPU. What a GPU adds has no test here: it needs one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compress.data.arrays import ArraySplit
from compress.training.arithmetic import Arithmetic
from compress.training.loop import Progress, TrainingReport, train
from compress.training.losses import Distillation
from compress.training.settings import TrainingOptions

SETTINGS = TrainingOptions(
    epochs=3, batch_size=8, learning_rate=2e-2, average=0.8, training_precision="bfloat16"
)


class Images(nn.Module):
    """A convolutional classifier that notes how its activations look; ``view`` needs channels first."""

    def __init__(self, seed: int, view: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * 16, 4)
        self.view = view
        self.seen: set[tuple[torch.dtype, bool]] = set()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        x = self.second(self.norm(self.first(x)).relu())
        if self.training:
            self.seen.add((x.dtype, x.is_contiguous(memory_format=torch.channels_last)))
        return (self.head(x.view(len(x), -1) if self.view else x.flatten(1)),)


def trained(view: bool = False, **options) -> tuple[Images, TrainingReport]:
    student = Images(1, view)
    noise = np.random.default_rng(0)
    data = ArraySplit.from_arrays({"x": noise.normal(size=(72, 3, 4, 4)).astype(np.float32)})
    report = train(student, Images(0), data, Distillation(True), SETTINGS, inputs=["x"], **options)
    return student, report


def test_bfloat16_trains_with_weights_in_float32_and_channels_last():
    student, report = trained()
    assert student.seen == {(torch.bfloat16, True)}
    assert report.losses[-1] < report.losses[0]
    assert report.held_out_losses[report.best_epoch] < 0.9 * report.held_out_losses[0]
    assert {value.dtype for value in student.parameters()} == {torch.float32}
    assert all(value.is_contiguous() for value in student.parameters())
    x = torch.randn(2, 3, 4, 4)
    assert student.eval()(x)[0].dtype == torch.float32


def test_a_network_that_flattens_by_view_trains_with_channels_first():
    student, report = trained(view=True)
    assert student.seen == {(torch.bfloat16, False)}
    assert report.losses[-1] < report.losses[0]


def test_a_killed_training_in_bfloat16_ends_as_one_that_was_not(tmp_path):
    def kill(progress: Progress) -> None:
        if progress.step == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(save_to=tmp_path / "training.pt", save_seconds=0, report=kill)
    resumed, whole = trained(save_to=tmp_path / "training.pt")[0], trained()[0]
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_float16_scales_the_loss_and_forgets_steps_that_overflow():
    arithmetic = Arithmetic("float16", torch.device("cpu"))
    module = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = module.weight.detach().clone()
    arithmetic.gradients(module(torch.ones(1, 2)).sum() * 1e38)
    arithmetic.step(optimizer)
    assert torch.equal(module.weight, before)
    scale = arithmetic.state()["scale"]
    optimizer.zero_grad()
    arithmetic.gradients(module(torch.ones(1, 2)).sum())
    arithmetic.step(optimizer)
    torch.testing.assert_close(module.weight, before - 0.1)
    restored = Arithmetic("float16", torch.device("cpu"))
    restored.restore(arithmetic.state())
    assert restored.state()["scale"] == scale < 2.0**16


def test_a_cpu_computes_in_float32_unless_told_otherwise():
    arithmetic = Arithmetic("auto", torch.device("cpu"))
    assert arithmetic.dtype == torch.float32
    assert not arithmetic.prefers_channels_last
    assert arithmetic.state() == {}
