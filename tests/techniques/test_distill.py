"""Pruning and recovery of a small network on scikit-learn's digits: real data, real training."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.data.task import load_task
from compress.errors import DataError, NetworkError, RecipeError
from compress.network.network import Network, load_network
from compress.recipe import Recipe, Step
from compress.target.target import load_target
from compress.techniques import apply_recipe, technique_names
from compress.techniques.base import Context
from compress.techniques.distill import Distill
from compress.techniques.prune import Prune
from compress.training.features import with_features
from compress.training.losses import relative_error
from tests.digits import Digits, shuffled_digits, trained


@pytest.fixture(scope="module")
def digits() -> Digits:
    return shuffled_digits()


@pytest.fixture(scope="module")
def network(digits) -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(128, 10),
    )
    return trained(module, digits, samples=1000, epochs=6)


@pytest.fixture(scope="module")
def pruned(network, digits) -> Network:
    return Prune(0.6, per_layer=True).apply(network, context(network, digits))


def context(network: Network, digits, labels: bool = True, **options) -> Context:
    images, targets = digits
    given = {"x": images[:1000]} | ({"y": targets[:1000]} if labels else {})
    task = load_task({"x": images[1000:], "y": targets[1000:]}, train_data=given)
    return Context(
        task.bind(network.inputs, network.outputs), load_target("cpu"), original=network, **options
    )


def accuracy(network: Network, digits) -> float:
    """Of the samples nothing was trained on, in percent."""
    with torch.no_grad():
        scores = network.graph.eval()(torch.from_numpy(digits[0][1000:]))
    return 100 * float((scores.argmax(1).numpy() == digits[1][1000:]).mean())


@pytest.mark.parametrize(
    "settings", [{}, {"label_weight": 0.3, "temperature": 4.0}], ids=["no labels", "labels"]
)
def test_what_pruning_lost_comes_back(network, pruned, digits, settings):
    before = accuracy(network, digits)
    assert accuracy(pruned, digits) < before - 15
    given = context(network, digits, labels="label_weight" in settings)
    recovered = Distill(epochs=6, batch_size=32, learning_rate=5e-3, **settings).apply(pruned, given)
    assert accuracy(recovered, digits) > before - 4
    report = given.reports["distill"]
    assert report["training"]["recalibrated"]
    assert report["matched_features"] == []
    assert report["settings"]["epochs"] == 6


@pytest.mark.parametrize("of_student", [False, True], ids=["logits", "probabilities"])
@pytest.mark.parametrize("of_teacher", [False, True], ids=["of logits", "of probabilities"])
def test_a_student_learns_whichever_of_the_two_ends_in_softmax(network, digits, of_student, of_teacher):
    def ending(module: nn.Module, softmax: bool) -> Network:
        return load_network(
            nn.Sequential(module, *([nn.Softmax(1)] if softmax else [])), example=[digits[0][:4]]
        )

    torch.manual_seed(0)
    new = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    given = context(network, digits)
    given.original = ending(copy.deepcopy(network.graph), of_teacher)
    student = ending(new, of_student)
    learned = Distill(epochs=3, batch_size=32, learning_rate=2e-2).apply(student, given)
    assert accuracy(learned, digits) > 85


def test_activations_of_equal_shape_are_matched(network, digits):
    given = context(network, digits)
    pruned = Prune(0.6, per_layer=True, keep_layers=("3",)).apply(network, given)
    settings = {"epochs": 2, "epoch_samples": 200, "batch_size": 50}
    alone = Distill(**settings).apply(pruned, given)
    assert given.reports["distill"]["matched_features"] == []
    taught = Distill(features=5.0, **settings).apply(pruned, given)
    assert len(given.reports["distill"]["matched_features"]) == 2  # the stage's end, and flattened

    def distance(student: Network) -> float:
        images = torch.from_numpy(digits[0][1000:])
        with torch.no_grad():
            inside = [
                with_features(each.graph.eval(), given.reports["distill"]["matched_features"])(images)
                for each in (student, network)
            ]
        return float(relative_error(inside[0][1], inside[1][1]))

    assert distance(taught) < 0.9 * distance(alone)


def test_temperature_and_precision_are_those_of_training(network, pruned, digits):
    def first_loss(**settings) -> float:
        given = context(network, digits)
        Distill(epochs=1, epoch_samples=64, **settings).apply(pruned, given)
        return given.reports["distill"]["training"]["held_out_losses"][0]

    plain = first_loss()
    assert first_loss(temperature=4.0) != pytest.approx(plain, rel=0.1)
    rounded = first_loss(training_precision="bfloat16")
    assert plain != rounded == pytest.approx(plain, rel=0.2)


class FixedBatch(nn.Module):
    """A linear classifier of so many images at once, no more and no fewer."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch, self.head = batch, nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.reshape(self.batch, 64))


def fixed(digits, batch: int) -> Network:
    torch.manual_seed(0)
    return load_network(FixedBatch(batch), example=[digits[0][:batch]])


@pytest.mark.parametrize("student_too", [False, True])
def test_a_teacher_s_fixed_batch_is_what_both_train_in(digits, student_too):
    teacher = fixed(digits, 4)
    torch.manual_seed(1)
    new = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    student = fixed(digits, 4) if student_too else load_network(new, example=[digits[0][:4]])
    given = context(student, digits)
    given.original = teacher.with_onnx(teacher.to_onnx())
    Distill(epochs=1, epoch_samples=200, batch_size=64).apply(student, given)
    assert len(given.reports["distill"]["training"]["losses"]) == 1


def test_networks_of_two_fixed_batches_cannot_train_together(digits):
    student = fixed(digits, 4)
    given = context(student, digits)
    given.original = fixed(digits, 2)
    with pytest.raises(NetworkError, match="batch, 2 samples; found one that takes 4 alone; export"):
        Distill().apply(student, given)


def test_the_teacher_is_the_original_and_nothing_given_is_touched(network, pruned, digits):
    kept = {name: value.clone() for name, value in pruned.graph.state_dict().items()}
    own = {name: value.clone() for name, value in network.graph.state_dict().items()}
    recovered = Distill(epochs=1, epoch_samples=200).apply(pruned, context(network, digits))
    assert not recovered.graph.training
    assert all(torch.equal(value, kept[name]) for name, value in pruned.graph.state_dict().items())
    assert all(torch.equal(value, own[name]) for name, value in network.graph.state_dict().items())
    assert any(not torch.equal(value, kept[name]) for name, value in recovered.graph.state_dict().items())


def test_a_recipe_prunes_distils_and_quantizes(network, digits):
    assert "distill" in technique_names()
    steps = (
        Step("prune", {"ratio": 0.4, "per_layer": True}),
        Step("distill", {"epochs": 3, "learning_rate": 5e-3}),
        Step("quantize", {}),
    )
    given = context(network, digits)
    done = apply_recipe(Recipe("small", steps), network, given)
    assert not done.trainable
    assert set(given.reports) == {"prune", "distill", "quantize"}


def test_the_seed_decides_the_weights(network, pruned, digits):
    def weights(seed: int) -> torch.Tensor:
        trained = Distill(epochs=1, epoch_samples=200).apply(pruned, context(network, digits, seed=seed))
        return torch.cat([value.flatten() for value in trained.graph.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_frozen_parameters_train_too(network, digits):
    frozen = network.with_graph(Prune(0.3).apply(network, context(network, digits)).graph)
    frozen.graph.requires_grad_(False)
    trained = Distill(epochs=2).apply(frozen, context(network, digits))
    assert any(
        not torch.equal(one, other)
        for one, other in zip(trained.graph.parameters(), frozen.graph.parameters(), strict=True)
    )


def test_without_data_to_train_on_it_says_what_to_give(network, digits):
    given = context(network, digits)
    given.task = replace(given.task, training=None)
    with pytest.raises(DataError, match="--train-data"):
        Distill().apply(network, given)


def test_labels_are_asked_for_only_where_they_are_used(network, digits):
    with pytest.raises(DataError, match="label_weight"):
        Distill(label_weight=0.5).apply(network, context(network, digits, labels=False))


def test_too_few_samples(network, pruned, digits):
    with pytest.raises(DataError, match="at least 2000 training samples"):
        Distill(batch_size=1000, features=1.0).apply(pruned, context(network, digits))


def test_an_onnx_model_is_refused(network, digits):
    with pytest.raises(RecipeError, match="before quantizing"):
        Distill().apply(network.with_onnx(network.to_onnx()), context(network, digits))


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0}, {"label_weight": 1.5}, {"epochs": 0}, {"features": -1}, {"features": float("inf")}],
)
def test_wrong_settings_are_refused_before_any_work(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        Distill(**wrong)
