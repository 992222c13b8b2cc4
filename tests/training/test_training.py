from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compress.data.arrays import ArraySplit
from compress.errors import DataError
from compress.training import checkpoint
from compress.training.averaging import MovingAverage
from compress.training.loop import Progress, TrainingReport, train
from compress.training.losses import Distillation, are_probabilities
from compress.training.samples import TrainingSamples
from compress.training.schedule import cosine
from compress.training.settings import TrainingOptions

SETTINGS = TrainingOptions(epochs=3, batch_size=8, learning_rate=1e-2, average=0.9)


class OneOutput(nn.Module):
    """A classifier with dropout, so that a training draws random numbers too."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.head(self.layers(x)),)


def samples(count: int = 100, labels: bool = True) -> ArraySplit:
    return ArraySplit.from_arrays(arrays(count) if labels else {"x": arrays(count)["x"]})


def arrays(count: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0)
    return {"x": noise.normal(size=(count, 6)).astype(np.float32), "y": noise.integers(0, 4, count)}


def trained(settings: TrainingOptions = SETTINGS, **options) -> tuple[OneOutput, TrainingReport]:
    student = OneOutput(1)
    options = {"inputs": ["x"], "seed": 3} | options
    report = train(student, OneOutput(0), samples(), Distillation(True), settings, **options)
    return student, report


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == twin and torch.equal(value, copy) for (name, value), (twin, copy) in pairs)


class TestLoop:
    def test_the_student_comes_closer_to_its_teacher_without_labels(self):
        student, teacher = OneOutput(1), OneOutput(0)
        settings = TrainingOptions(epochs=8, batch_size=16, learning_rate=3e-2, patience=8)
        data = samples(400, labels=False)
        report = train(student, teacher, data, Distillation(True), settings, inputs=["x"])
        assert report.held_out_losses[report.best_epoch] < 0.3 * report.held_out_losses[0]
        assert report.losses[-1] < report.losses[0]
        assert not student.training

    def test_one_seed_gives_one_result(self):
        assert same(trained()[0], trained()[0])
        assert not same(trained()[0], trained(seed=4)[0])

    @pytest.mark.parametrize("killed_at", [1, 7, 11, 20])
    def test_a_killed_training_ends_as_one_that_was_not(self, tmp_path, killed_at):
        def kill(progress: Progress) -> None:
            if progress.step == killed_at:
                raise KeyboardInterrupt

        file = tmp_path / "run" / "training.pt"
        with pytest.raises(KeyboardInterrupt):
            trained(save_to=file, save_seconds=0, report=kill)
        seen: list[int] = []
        resumed, report = trained(save_to=file, report=lambda progress: seen.append(progress.step))
        whole, expected = trained()
        assert same(resumed, whole)
        assert (report.losses, report.held_out_losses) == (expected.losses, expected.held_out_losses)
        assert seen[0] == killed_at  # The step that was killed before it was saved is done again, no other.

    def test_a_finished_training_is_not_repeated(self, tmp_path):
        first, _ = trained(save_to=tmp_path / "training.pt")
        seen: list[int] = []
        second, report = trained(
            save_to=tmp_path / "training.pt", report=lambda progress: seen.append(progress.step)
        )
        assert same(first, second)
        assert not seen
        assert len(report.losses) == 3

    @pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
    def test_a_checkpoint_of_another_training_or_a_damaged_one_is_not_used(self, tmp_path, damage):
        file = tmp_path / "training.pt"
        trained(save_to=file, seed=99)
        if damage is not None:
            file.write_bytes(damage)
        assert same(trained(save_to=file)[0], trained()[0])

    @pytest.mark.parametrize("kind", ["labels", "floats"])
    def test_a_checkpoint_of_targets_that_were_corrected_since_is_not_used(self, tmp_path, kind):
        def steps(**changed: np.ndarray) -> int:
            seen: list[int] = []
            student, options = OneOutput(1), {"inputs": ["x"], "save_to": tmp_path / "training.pt"}
            data = ArraySplit.from_arrays(given | changed)
            loss = Distillation(kind == "labels", label_weight=0.5)
            train(student, OneOutput(0), data, loss, SETTINGS, report=lambda each: seen.append(1), **options)
            return len(seen)

        given = arrays(100)
        if kind == "floats":
            given["y"] = np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32)
            corrected = given["y"] + 1
        else:
            corrected = given["y"].copy()
            corrected[-1] = (corrected[-1] + 1) % 4  # One sample, in whichever batch
        assert steps() == 33
        assert steps() == 0
        assert steps(y=corrected) == 33

    def test_the_weights_of_the_best_epoch_are_kept(self):
        settings = TrainingOptions(epochs=4, batch_size=8, learning_rate=10.0, patience=4)
        student, teacher = OneOutput(0), OneOutput(0)
        report = train(student, teacher, samples(), Distillation(True), settings, inputs=["x"])
        assert report.best_epoch == 0  # It began perfect.
        assert same(student, OneOutput(0))

    def test_training_stops_where_nothing_gets_better(self):
        settings = TrainingOptions(epochs=50, batch_size=8, learning_rate=1.0, patience=2)
        student, teacher = OneOutput(0), OneOutput(0)
        report = train(student, teacher, samples(), Distillation(True), settings, inputs=["x"])
        assert report.stopped == "no better"
        assert len(report.losses) == report.best_epoch + 2

    def test_a_training_that_diverges_keeps_what_was_best(self):
        calls = 0

        def loss(outputs, taught, targets):
            nonlocal calls
            calls += 1
            return Distillation(True)(outputs, taught, targets) * (math.nan if calls > 9 else 1)

        student = OneOutput(1)
        report = train(student, OneOutput(0), samples(), loss, SETTINGS, inputs=["x"])
        assert report.stopped == "diverged"
        assert all(value.isfinite().all() for value in student.state_dict().values())

    def test_outputs_that_are_not_finite_are_refused_before_training(self):
        teacher = OneOutput(0)
        teacher.head.weight.data[:] = math.nan
        with pytest.raises(DataError, match="loss of nan"):
            train(OneOutput(1), teacher, samples(), Distillation(True), SETTINGS, inputs=["x"])

    def test_progress_counts_the_steps_and_the_time_left(self):
        seen: list[Progress] = []
        trained(report=seen.append)
        assert [each.step for each in seen] == list(range(1, 34))
        assert {each.steps for each in seen} == {33}  # 3 epochs of 92 samples in batches of 8
        assert all(each.seconds_left >= 0 for each in seen)
        assert seen[-1].seconds_left == 0

    def test_the_caller_s_random_numbers_are_left_alone(self):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        student, teacher = OneOutput(1), OneOutput(0)
        torch.manual_seed(5)
        train(student, teacher, samples(), Distillation(True), SETTINGS, inputs=["x"])
        assert torch.rand(1) == expected
        assert not torch.are_deterministic_algorithms_enabled()

    def test_an_epoch_may_be_shorter_than_the_data(self):
        settings = TrainingOptions(epochs=2, batch_size=8, epoch_samples=24)
        seen: list[Progress] = []
        trained(settings, report=seen.append)
        assert seen[-1].steps == 6


class TestSamples:
    def test_a_pass_sees_every_sample_once_and_never_one_that_is_held_out(self):
        data = ArraySplit.from_arrays({"x": np.arange(50, dtype=np.float32)[:, None]})
        found = TrainingSamples(data, ["x"], 5, 0.2, seed=0)
        held = {float(value) for (x,), _ in found.held_out_batches() for value in x}
        passes = [
            [float(value) for step in range(8) for value in found.batch(8 * n + step)[0][0]] for n in (0, 1)
        ]
        for one in passes:
            assert sorted([*one, *held]) == list(range(50))
        assert passes[0] != passes[1]
        assert len(found) == 40
        assert found.held_out == 10

    def test_a_batch_may_reach_into_the_next_pass(self):
        data = ArraySplit.from_arrays({"x": np.arange(20, dtype=np.float32)[:, None]})
        found = TrainingSamples(data, ["x"], 4, 0.3, seed=0)  # 16 train
        assert len(found) == 16
        found = TrainingSamples(data, ["x"], 6, 0.3, seed=0)  # 14 train
        stream = [float(value) for step in range(7) for value in found.batch(step)[0][0]]
        assert all(len(set(stream[14 * n : 14 * (n + 1)])) == 14 for n in range(3))

    def test_too_few_samples_are_refused(self):
        with pytest.raises(DataError, match="at least 64 training samples"):
            TrainingSamples(samples(40), ["x"], 32, 0.1, seed=0)


class TestLosses:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])

    def test_a_student_like_its_teacher_has_no_loss(self):
        for classes in (True, False):
            assert float(Distillation(classes, 2.0)((self.logits,), (self.logits,), None)) < 1e-6

    def test_the_divergence_is_hinton_s(self):
        student = torch.zeros(2, 3)
        teacher = torch.softmax(self.logits / 2, 1)
        expected = 4 * (teacher * (teacher.log() - math.log(1 / 3))).sum(1).mean()
        found = Distillation(True, 2.0)((student,), (self.logits,), None)
        torch.testing.assert_close(found, expected)

    @pytest.mark.parametrize("teacher_form", [torch.softmax, torch.log_softmax, None])
    @pytest.mark.parametrize("student_form", [torch.softmax, torch.log_softmax, None])
    def test_probabilities_and_their_logarithms_count_as_the_logits_they_come_from(
        self, student_form, teacher_form
    ):
        targets = torch.tensor([1, 2])
        student = self.logits.flip(0)
        loss = Distillation(True, 3.0, label_weight=0.5)
        expected = loss((student,), (self.logits,), targets)
        outputs = (student if student_form is None else student_form(student, 1),)
        taught = (self.logits if teacher_form is None else teacher_form(self.logits, 1),)
        found = loss.fitted(outputs, taught)(outputs, taught, targets)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_logits_that_look_like_probabilities_in_one_batch_stay_logits(self):
        loss = Distillation(True).fitted((self.logits,), (self.logits,))
        rare = torch.tensor([[0.25, 0.75, 0.0]])
        expected = torch.nn.functional.kl_div(
            rare.log_softmax(1),
            torch.tensor([[1.0, 0.0, 0.0]]).log_softmax(1),
            log_target=True,
            reduction="sum",
        )
        torch.testing.assert_close(loss((rare,), (torch.tensor([[1.0, 0.0, 0.0]]),), None), expected)

    @pytest.mark.parametrize(
        "scores", [[[0.5, 0.6]], [[1.5, -0.5]], [[0.5, 0.5], [0.1, 0.2]], [[math.nan, 1.0]]]
    )
    def test_scores_that_are_no_probabilities(self, scores):
        assert not are_probabilities(torch.tensor(scores))

    def test_other_outputs_weigh_the_same_in_any_unit(self):
        one = Distillation(False)((self.logits + 0.1,), (self.logits,), None)
        other = Distillation(False)((1000 * self.logits + 100,), (1000 * self.logits,), None)
        torch.testing.assert_close(one, other)

    def test_labels_are_mixed_in_by_their_weight(self):
        targets = torch.tensor([1, 2])
        student, teacher = self.logits.flip(0), self.logits
        alone = Distillation(True)((student,), (teacher,), None)
        entropy = nn.functional.cross_entropy(student, targets)
        found = Distillation(True, label_weight=0.25)((student,), (teacher,), targets)
        torch.testing.assert_close(found, 0.75 * alone + 0.25 * entropy)

    def test_float_targets_are_mixed_in_too(self):
        found = Distillation(False, label_weight=1.0)((self.logits,), (self.logits,), self.logits + 2)
        torch.testing.assert_close(found, torch.tensor(4.0))

    @pytest.mark.parametrize("targets", [None, torch.zeros(2, 2), torch.zeros(2, 3, dtype=torch.int64)])
    def test_labels_that_are_missing_or_do_not_fit_are_refused(self, targets):
        with pytest.raises(DataError, match="label_weight"):
            Distillation(True, label_weight=0.5)((self.logits,), (self.logits,), targets)

    def test_integer_outputs_are_left_out(self):
        number = torch.tensor([1, 2])
        found = Distillation(True)((self.logits, number), (self.logits, number + 1), None)
        assert float(found) < 1e-6


@given(steps=st.integers(2, 500), share=st.floats(0, 0.5))
def test_the_schedule_rises_to_one_and_falls_towards_zero(steps, share):
    warm_up = int(share * steps)
    factors = [cosine(step, steps, warm_up) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[warm_up] == 1
    assert factors[:warm_up] == sorted(factors[:warm_up])
    assert factors[warm_up:] == sorted(factors[warm_up:], reverse=True)


def test_the_moving_average_follows_and_is_lent_for_a_block():
    module = nn.Linear(1, 1, bias=False)
    module.weight.data[:] = 0.0
    average = MovingAverage(module, 0.5)
    module.weight.data[:] = 1.0
    average.update(100)
    with average.applied():
        assert float(module.weight.detach()) == 0.5
    assert float(module.weight.detach()) == 1.0
    average.update(0)  # At first the past weighs 1/10 only.
    assert float(average.values["weight"]) == pytest.approx(0.95)


def test_a_checkpoint_runs_no_code_and_is_replaced_whole(tmp_path: Path):
    import pickle

    file = tmp_path / "training.pt"
    file.write_bytes(pickle.dumps({"key": "a", "loss": Distillation(True)}))
    assert checkpoint.load(file, "a") is None
    checkpoint.save(file, {"key": "a", "step": 3})
    assert checkpoint.load(file, "a") == {"key": "a", "step": 3}
    assert checkpoint.load(file, "b") is None
    assert [each.name for each in tmp_path.iterdir()] == ["training.pt"]
