"""Students of scikit-learn's digits, learned from a small perceptron: real data, real training."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.core.progress import Reporter
from compress.data.task import load_task
from compress.errors import DataError, MetricError, NetworkError, RecipeError
from compress.network.network import Network
from compress.students.family import build, load_family, parameters_of
from compress.students.judging import ModuleSession
from compress.students.recommendation import _considered, recommend
from compress.students.training import StudentTraining
from compress.training.settings import TrainingOptions
from compress.training.teaching import RememberingTeacher
from tests.digits import Digits, shuffled_digits, trained

BRIEF = TrainingOptions(epochs=4, epoch_samples=960, batch_size=32, learning_rate=3e-2, patience=4)


def perceptron(width: float) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, int(width)), nn.ReLU(), nn.Linear(int(width), 10))


@pytest.fixture(scope="module")
def digits() -> Digits:
    return shuffled_digits()


@pytest.fixture(scope="module")
def network(digits) -> Network:
    module = build(perceptron, 48, seed=5)
    return trained(module, digits, samples=1300, epochs=10)


def task_of(digits, network: Network, labels: bool = True, metric=None):
    images, targets = digits
    given = {"x": images[:1300]} | ({"y": targets[:1300]} if labels else {})
    task = load_task({"x": images[1300:], "y": targets[1300:]}, train_data=given, metric=metric)
    return task.bind(network.inputs, network.outputs)


@pytest.fixture(scope="module")
def training(digits, network) -> StudentTraining:
    return StudentTraining(perceptron, network, task_of(digits, network), BRIEF)


@pytest.fixture(scope="module")
def up_to_half(digits, network) -> StudentTraining:
    def family(width: float) -> nn.Module:
        if width > 0.55:
            raise ValueError("too wide")
        return perceptron(48 * width)

    return StudentTraining(family, network, task_of(digits, network), BRIEF)


class TestRecommendation:
    def test_the_smallest_width_inside_the_margin_is_trained_and_comes_true(self, training):
        longer = replace(BRIEF, epochs=10, patience=10)
        # How much training scatters, and with it every bound, differs between machines: the margin comes from this one.
        first = recommend(training, [12, 6, 9, 18], max_drop=0, runs=2).forecasts
        (margin,) = (each.drop_bound + 1 for each in first if each.width == 18)
        found = recommend(training, [12, 6, 9, 18], max_drop=margin, runs=2, longer=longer)
        assert [(each.width, each.samples) for each in found.trained] == [
            (width, 260) for width in (6, 9, 12, 18) for _ in range(2)
        ]
        assert [each.width for each in found.forecasts] == [6, 9, 12, 18, 24, 30, 36, 42, 48]
        within = [each for each in found.forecasts if each.drop_bound <= margin]
        assert found.chosen is within[0]
        assert 6 <= found.chosen.width <= 18
        student = found.check.student
        assert student.width == found.chosen.width
        assert student.parameters == found.chosen.parameters == parameters_of(perceptron(student.width))
        assert found.check.held == (
            found.chosen.prediction.lower <= student.error <= found.chosen.prediction.upper
        )
        assert found.check.drop.points < 2 * margin
        assert found.check.longer_drop.points < found.check.drop.points + 3
        assert found.module is found.check.longer.module

        told = json.loads(json.dumps(found.to_dict()))
        assert told["chosen"] == found.chosen.width
        assert told["check"]["longer"]["error"] == found.check.longer.error
        assert len(told["forecasts"]) == len(found.forecasts)

    def test_the_bound_of_a_drop_holds_the_teachers_uncertainty_too(self, training, network):
        found = recommend(training, [6, 9, 12], max_drop=0, runs=1, candidates=[12])
        (forecast,) = found.forecasts
        alone = 100 * (forecast.prediction.upper - found.teacher.error)
        assert forecast.drop_bound > alone
        assert forecast.drop == pytest.approx(100 * (forecast.prediction.error - found.teacher.error))
        assert found.teacher.size == parameters_of(network.graph)
        assert (found.chosen, found.check, found.module) == (None, None, None)
        assert json.loads(json.dumps(found.to_dict()))["check"] is None

    def test_default_candidates_are_exact_and_end_where_the_family_does(self, up_to_half):
        assert sorted(_considered(up_to_half, [0.1, 0.2, 0.3])) == [0.1, 0.2, 0.3, 0.4, 0.5]

    @pytest.mark.parametrize(
        "named", [{"widths": [0.1, 0.2, 0.75]}, {"widths": [0.1, 0.2, 0.3], "candidates": [0.75]}]
    )
    def test_a_width_that_was_named_and_is_refused_is_told_with_the_options(self, up_to_half, named):
        with pytest.raises(NetworkError, match=r"one width, 0\.75 here; .*too wide.* --candidates"):
            recommend(up_to_half, **named)

    @pytest.mark.parametrize("widths", [[], [2, 4], [2, 4, 4], [0, 2, 4], [2, 4, math.nan]])
    def test_fewer_than_three_widths_are_refused(self, training, widths):
        with pytest.raises(RecipeError, match="at least 3 different widths above 0"):
            recommend(training, widths)

    @pytest.mark.parametrize("options", [{"max_drop": -1}, {"runs": 0}, {"max_drop": math.nan}])
    def test_settings_out_of_range_are_refused(self, training, options):
        with pytest.raises(RecipeError, match="points and"):
            recommend(training, [2, 4, 8], **options)


class TestTraining:
    def test_no_judged_sample_trains(self, training, digits):
        apart = {each.inputs for each in training._apart.digests}
        others = [each.inputs for each in training._trained.digests]
        assert len(training._apart) == 260
        assert len(training._apart) + len(others) == 1300
        assert not apart & set(others)

    def test_one_seed_gives_one_student_and_another_run_another(self, training):
        one, same, other = (training.train(3, run) for run in (0, 0, 1))
        assert one.wrong == same.wrong
        weights = [each.module[1].weight for each in (one, same, other)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    def test_progress_names_the_width(self, network, digits):
        told = []

        class Listening(Reporter):
            def stage(self, text: str) -> None:
                told.append(text)

            def tick(self, done: int) -> None:
                told.append(done)

        StudentTraining(perceptron, network, task_of(digits, network), BRIEF, reporter=Listening()).train(9)
        assert told == ["training a student of width 9", *range(1, told[-1] + 1)]
        assert told[-1] > 4

    def test_without_labels_a_student_is_judged_by_agreement(self, network, digits):
        metric = {"": "agreement", network.outputs[0].name: "classes"}
        unlabelled = StudentTraining(
            perceptron, network, task_of(digits, network, labels=False, metric=metric), BRIEF
        )
        assert 0 < unlabelled.train(9).error < 0.6
        assert unlabelled.outcomes(unlabelled.teacher).all()
        found = recommend(unlabelled, [6, 9, 12], max_drop=0, runs=1, candidates=[12])
        assert (found.teacher.error, found.teacher.deviation) == (0, 0)

    def test_what_cannot_be_judged_is_refused(self, network, digits):
        with pytest.raises(DataError, match=r"training data with labels, to judge students by top-1"):
            StudentTraining(perceptron, network, task_of(digits, network, labels=False), BRIEF)
        graded = task_of(digits, network)
        by_degree = replace(graded, metric=replace(graded.metric, right_or_wrong=False))
        with pytest.raises(MetricError, match="right or wrong"):
            StudentTraining(perceptron, network, by_degree, BRIEF)
        with pytest.raises(DataError, match="set a part of it aside"):
            StudentTraining(perceptron, network, graded, BRIEF, judged=1e-6)

    def test_a_teacher_in_onnx_has_a_size_too(self, network, digits):
        as_onnx = network.with_onnx(network.to_onnx())
        training = StudentTraining(perceptron, as_onnx, task_of(digits, as_onnx), BRIEF)
        assert training.teacher_parameters == parameters_of(network.graph)


class TestTeacher:
    def test_a_batch_is_computed_once_for_all_students(self):
        calls = []

        class Counting(nn.Module):
            def forward(self, x):
                calls.append(x)
                return 2 * x

        teacher = RememberingTeacher(Counting())
        one, other = torch.ones(2, 3), torch.zeros(2, 3)
        for each in (one, other, one.clone(), one.view(3, 2)):
            assert torch.equal(teacher(each)[0], 2 * each)
        assert len(calls) == 3

    def test_what_does_not_fit_in_memory_is_computed_again(self, monkeypatch):
        monkeypatch.setattr("compress.training.teaching.REMEMBERED_BYTES", 30)
        teacher = RememberingTeacher(nn.Identity())
        for value in range(3):
            assert torch.equal(teacher(torch.full((5,), float(value)))[0], torch.full((5,), float(value)))
        assert len(teacher._outputs) == 1

    def test_a_session_takes_inputs_by_name(self, network, digits):
        session = ModuleSession(network.graph, network)
        name = network.inputs[0].name
        (scores,) = session.run({name: digits[0][:3]})
        assert scores.shape == (3, 10)


class TestFamily:
    def test_a_reference(self):
        assert load_family(f"{math.__name__}:sqrt") is math.sqrt
        with pytest.raises(NetworkError, match="a student family"):
            load_family("math.sqrt")
        with pytest.raises(NetworkError, match="name a function"):
            load_family("math:pi")

    def test_building_leaves_random_numbers_alone(self):
        torch.manual_seed(0)
        wanted = torch.rand(1)
        torch.manual_seed(0)
        built = [build(perceptron, 3, seed)[1].weight for seed in (1, 1, 2)]
        assert torch.equal(built[0], built[1])
        assert not torch.equal(built[0], built[2])
        assert torch.equal(torch.rand(1), wanted)

    def test_a_family_that_fails_is_named_with_the_width(self, training):
        with pytest.raises(NetworkError, match="takes one width, 3 here"):
            build(lambda width: nn.Linear(8, "x"), 3, 0)
        with pytest.raises(NetworkError, match="returns a torch"):
            build(lambda width: None, 3, 0)

    @pytest.mark.parametrize(
        "family, message",
        [
            (lambda width: nn.Linear(7, 10), "takes the network's inputs"),
            (
                lambda width: nn.Sequential(nn.Flatten(), nn.Linear(64, 9)),
                "whose outputs have the network's shapes",
            ),
        ],
    )
    def test_a_student_that_does_not_fit_is_refused_before_training(self, network, digits, family, message):
        training = StudentTraining(family, network, task_of(digits, network), BRIEF)
        with pytest.raises(NetworkError, match=message):
            recommend(training, [1, 2, 3])
