"""Quantization-aware training of a small network on scikit-learn's digits: real data, real sessions."""

from __future__ import annotations

import copy
from dataclasses import replace

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compress.core.progress import Reporter
from compress.data.task import load_task
from compress.errors import DataError, NetworkError, RecipeError
from compress.network.network import Network, load_network
from compress.target.target import load_target
from compress.techniques.base import Context
from compress.techniques.qat import Qat
from compress.techniques.quantize import Quantize
from tests.digits import Digits, shuffled_digits, trained

#: Ranges that hold half of the values: post-training quantization cuts off the rest.
NARROW = {"method": "percentile", "percentile": 51.0}


@pytest.fixture(scope="module")
def digits() -> Digits:
    return shuffled_digits()


@pytest.fixture(scope="module")
def network(digits) -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU6(),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    return trained(module, digits, samples=1000, epochs=4)


def context(network: Network, digits, target: str = "cpu", labels: bool = True, **options) -> Context:
    images, targets = digits
    given = {"x": images[:1000]} | ({"y": targets[:1000]} if labels else {})
    task = load_task({"x": images[1000:], "y": targets[1000:]}, train_data=given)
    return Context(task.bind(network.inputs, network.outputs), load_target(target), **options)


def accuracy(network: Network, digits) -> float:
    """Of the samples nothing was trained on, in percent."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        network.to_onnx().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (scores,) = session.run(None, {network.inputs[0].name: digits[0][1000:]})
    return 100 * float((scores.argmax(1) == digits[1][1000:]).mean())


@pytest.mark.parametrize("labels", [True, False])
def test_what_post_training_quantization_lost_comes_back(network, digits, labels):
    given = context(network, digits, labels=labels)
    before = accuracy(network, digits)
    assert accuracy(Quantize(**NARROW).apply(network, given), digits) < before - 8
    settings = NARROW | {"epochs": 12, "learning_rate": 1e-2, "label_weight": 0.2 if labels else 0.0}
    trained = Qat(batch_size=50, **settings).apply(network, given)
    assert accuracy(trained, digits) > before - 1
    report = given.reports["qat"]["training"]
    assert report["held_out_losses"][report["best_epoch"]] < 0.2 * report["held_out_losses"][0]
    assert given.reports["qat"]["settings"]["label_weight"] == settings["label_weight"]


def test_what_was_right_stays_right(network, digits):
    given = context(network, digits)
    before = accuracy(network, digits)
    trained = Qat(epochs=2, epoch_samples=500).apply(network, given)
    assert abs(accuracy(trained, digits) - before) <= 0.3
    assert not trained.trainable


def test_the_seed_decides_the_weights(network, digits):
    def weights(seed: int) -> bytes:
        trained = Qat(epochs=1, batch_size=50, **NARROW).apply(network, context(network, digits, seed=seed))
        return trained.to_onnx().SerializeToString()

    assert weights(0) == weights(0) != weights(1)


def test_the_original_network_can_be_the_teacher(network, digits):
    given = context(network, digits)
    flipped = copy.deepcopy(network.graph)
    with torch.no_grad():
        for value in flipped.get_submodule("7").parameters():
            value.neg_()
    given.original = network
    settings = {"epochs": 1, "epoch_samples": 100, "batch_size": 50}
    losses = {}
    for teacher in ("before", "original"):
        Qat(teacher=teacher, **settings).apply(network.with_graph(flipped), given)
        losses[teacher] = given.reports["qat"]["training"]["held_out_losses"][0]
    assert losses["original"] > 10 * losses["before"]  # Of a network that says the opposite.


def test_the_temperature_is_that_of_training(network, digits):
    losses = []
    for temperature in (1.0, 4.0):
        given = context(network, digits)
        settings = {"epochs": 1, "epoch_samples": 100, "batch_size": 50, "temperature": temperature, **NARROW}
        Qat(**settings).apply(network, given)
        losses.append(given.reports["qat"]["training"]["held_out_losses"][0])
    assert losses[1] != pytest.approx(losses[0], rel=0.1)


@pytest.mark.parametrize("teacher", ["before", "original"])
def test_a_softmax_at_the_end_changes_no_loss(network, digits, teacher):
    """The divergence of probabilities as logits would be far smaller."""
    ended = load_network(nn.Sequential(network.graph, nn.Softmax(1)), example=[digits[0][:4]])
    settings = {"epochs": 1, "epoch_samples": 100, "batch_size": 50, "teacher": teacher, **NARROW}
    losses = []
    for each in (network, ended):
        given = context(each, digits)
        given.original = network
        Qat(**settings).apply(each, given)
        losses.append(given.reports["qat"]["training"]["held_out_losses"][0])
    assert losses[1] == pytest.approx(losses[0], rel=0.5)


class _Kill(Reporter):
    """Stops the training at its tenth step."""

    def tick(self, done: int) -> None:
        if done == 10:
            raise KeyboardInterrupt


class _Steps(Reporter):
    """Takes note of what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.ticks: list[int] = []

    def step(self, text: str, total: int = 0) -> None:
        self.told.append((text, total))

    def tick(self, done: int) -> None:
        self.ticks.append(done)


def test_a_killed_training_goes_on_in_its_directory(network, digits, tmp_path, monkeypatch):
    technique = Qat(epochs=2, batch_size=50, **NARROW)
    whole = technique.apply(network, context(network, digits)).to_onnx().SerializeToString()
    monkeypatch.setattr("compress.training.loop.SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        technique.apply(network, context(network, digits, directory=tmp_path / "run", reporter=_Kill()))
    steps = _Steps()
    resumed = technique.apply(network, context(network, digits, directory=tmp_path / "run", reporter=steps))
    assert resumed.to_onnx().SerializeToString() == whole
    assert steps.told == [("training", 36)]
    assert steps.ticks == list(range(10, 37))


def test_the_target_decides_the_flavour(network, digits):
    given = context(network, digits, target="jetson-orin-nano-super")
    trained = Qat(epochs=1, epoch_samples=100).apply(network, given).to_onnx()
    onnx.checker.check_model(trained, full_check=True)
    types = {tensor.data_type for tensor in trained.graph.initializer}
    assert onnx.TensorProto.INT8 in types
    assert not types & {onnx.TensorProto.UINT8, onnx.TensorProto.INT32}


def test_a_network_of_fixed_batch_trains_in_its_own_batches(network, digits):
    model = onnx.ModelProto()
    model.CopyFrom(network.to_onnx())
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 20
    del model.graph.value_info[:]
    fixed = Network(
        inputs=tuple(replace(spec, shape=(20, *spec.shape[1:])) for spec in network.inputs),
        outputs=tuple(replace(spec, shape=(20, *spec.shape[1:])) for spec in network.outputs),
        origin=network.origin,
        model=model,
    )
    given = context(network, digits)
    Qat(epochs=1, epoch_samples=100, batch_size=64).apply(fixed, given)
    assert len(given.reports["qat"]["training"]["losses"]) == 1
    assert given.reports["qat"]["training"]["held_out"] % 20 == 0


def test_without_data_to_train_on_it_says_what_to_give(network, digits):
    given = context(network, digits)
    given.task = replace(given.task, training=None)
    with pytest.raises(DataError, match="--train-data"):
        Qat().apply(network, given)


def test_labels_are_asked_for_only_where_they_are_used(network, digits):
    with pytest.raises(DataError, match="label_weight"):
        Qat(label_weight=0.5).apply(network, context(network, digits, labels=False))


def test_a_quantized_network_is_refused(network, digits):
    given = context(network, digits)
    with pytest.raises(NetworkError, match="quantized already"):
        Qat().apply(Quantize().apply(network, given), given)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0},
        {"label_weight": 1.5},
        {"epochs": 0},
        {"scope": "some"},
        {"average": "a"},
        {"teacher": "me"},
    ],
)
def test_wrong_settings_are_refused_before_any_work(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        Qat(**wrong)
