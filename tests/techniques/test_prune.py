from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from compress.core.progress import Reporter
from compress.data.task import load_task
from compress.errors import DataError, RecipeError
from compress.hosts import connect
from compress.hosts.absent import AbsentHost
from compress.network.network import Network, load_network
from compress.onnx_graph.files import save_model
from compress.pruning.judging import CalibrationJudge
from compress.recipe import Recipe, Step
from compress.target.target import load_target
from compress.techniques import apply_recipe, technique_names
from compress.techniques.base import Context
from compress.techniques.prune import IMPORTANCES, Prune
from tests.graphs import classifier
from tests.networks import NETWORKS, FusedAttention, ResidualCNN, TwoInputs, build

X = np.random.default_rng(0).standard_normal((80, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(build(ResidualCNN), example={"x": X[:2]})


def context(network: Network, data: dict[str, np.ndarray]) -> Context:
    return Context(load_task(data).bind(network.inputs, network.outputs), load_target("cpu"))


def test_a_recipe_reaches_it_with_all_its_settings(network: Network) -> None:
    assert "prune" in technique_names()
    settings = {
        "ratio": 0.5,
        "per_layer": True,
        "keep_layers": ["stem"],
        "multiple": 4,
        "importance": "magnitude",
    }
    given = context(network, {"x": X})
    pruned = apply_recipe(Recipe("small", (Step("prune", {**settings, "samples": 8}),)), network, given)
    assert pruned.trainable
    report = given.reports["prune"]
    assert report["groups"] == {
        "stem": [8, 8],
        "layers.0.conv1": [8, 4],
        "layers.1.conv1": [16, 8],
        "layers.1.conv2": [16, 8],
    }
    assert report["macs"][1] < 0.6 * report["macs"][0]
    assert report["parameters"][1] == sum(each.numel() for each in pruned.graph.parameters())
    assert report["settings"]["multiple"] == 4
    session = onnxruntime.InferenceSession(pruned.to_onnx().SerializeToString())
    with torch.no_grad():
        expected = pruned.graph(torch.from_numpy(X))
    np.testing.assert_allclose(session.run(None, {"x": X})[0], expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_every_importance_is_reached(network: Network, importance: str) -> None:
    given = context(network, {"x": X})
    pruned = Prune(0.3, importance=importance).apply(network, given)
    assert sum(each.numel() for each in pruned.graph.parameters()) < given.reports["prune"]["parameters"][0]


def test_the_hessian_diagonal_judges_where_there_is_calibration_data(network: Network) -> None:
    given = context(network, {"x": X})
    by_default, named = (
        Prune(0.3, importance=importance).apply(network, given) for importance in (None, "hessian_diagonal")
    )
    assert given.reports["prune"]["settings"]["importance"] == "hessian_diagonal"
    for one, other in zip(by_default.graph.parameters(), named.graph.parameters(), strict=True):
        assert torch.equal(one, other)
    (spec,) = network.inputs
    inputs = (dataclasses.replace(spec, shape=(32, *spec.shape[1:])),)  # the 20 samples fill no batch
    whole = {"outputs": network.outputs, "origin": network.origin, "graph": network.graph}
    fixed = Network(inputs=inputs, sample=network.sample, **whole)
    Prune(0.3).apply(fixed, given)
    assert given.reports["prune"]["settings"]["importance"] == "magnitude"


def test_only_so_many_samples_are_seen(network: Network) -> None:
    many = np.random.default_rng(1).standard_normal((512, 3, 8, 8)).astype(np.float32)
    given = context(network, {"x": many})
    assert len(given.task.calibration) == 128
    batches = Prune(importance="taylor", samples=33)._batches(network, given)
    assert [len(x) for (x,) in batches] == [32, 32]


def test_quantized_after_it(network: Network) -> None:
    given = context(network, {"x": X})
    recipe = Recipe("both", (Step("prune", {"ratio": 0.3}), Step("quantize", {})))
    quantized = apply_recipe(recipe, network, given).to_onnx()
    assert onnxruntime.InferenceSession(quantized.SerializeToString()).run(None, {"x": X})[0].shape == (80, 5)


def test_several_inputs() -> None:
    network = load_network(build(TwoInputs), example=NETWORKS[TwoInputs])
    tokens = np.random.default_rng(0).integers(0, 10, size=(80, 6))
    given = context(network, {"image": X, "tokens": tokens})
    pruned = Prune(0.5, importance="hessian_diagonal").apply(network, given)
    assert pruned.graph.get_submodule("embedding").embedding_dim == 4


IMAGES = np.random.default_rng(2).standard_normal((80, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def wide() -> Network:
    """Wide enough for its latency to show what it is made of."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(64, 64, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 5),
    )
    with torch.no_grad():  # so that images differ in their class
        module[-1].bias -= module(torch.from_numpy(IMAGES)).mean(0)
    return load_network(module.eval(), example={"x": IMAGES[:2]})


@pytest.fixture(scope="module")
def measurements(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("latency")


def timed(network: Network, measurements: Path | None, **targets: np.ndarray) -> Context:
    """Where layers are timed; the evaluation data is out of reach."""
    given = context(network, {"x": IMAGES, **targets})
    task = dataclasses.replace(given.task, evaluation=None)
    host = connect(given.target, 0.05)
    return dataclasses.replace(given, task=task, host=host, threads=1, cache=measurements)


def test_a_latency_is_reached_by_widths_that_the_target_is_faster_at(wide, measurements) -> None:
    given = timed(wide, measurements)
    pruned = Prune(latency_share=0.6, seconds=100.0).apply(wide, given)
    report = given.reports["prune"]
    told = report["latency"]
    assert told["wanted"] == 0.6
    assert told["predicted"] <= 0.6
    assert told["source"] == "measured"
    assert told["whole_ms"] > 0
    for name, steps in told["steps"].items():
        assert report["groups"][name][1] in steps
    assert {layer["shape"] for layer in told["table"]["layers"]} >= {"Conv 3x3 64→64 @16x16"}
    assert report["macs"][1] < report["macs"][0]
    assert report["parameters"][1] == sum(each.numel() for each in pruned.graph.parameters())
    json.dumps(report)
    again = timed(wide, measurements)
    Prune(latency_share=0.95, keep_layers=("0",)).apply(
        wide, again
    )  # another recipe of the run finds the table
    assert again.reports["prune"]["latency"]["table"]["layers"] == told["table"]["layers"]
    assert again.reports["prune"]["groups"]["0"] == [64, 64]


def test_int8_is_timed_in_int8(wide) -> None:
    given = timed(wide, None)
    Prune(latency_share=0.95, timing_precision="int8", seconds=100.0).apply(wide, given)
    assert given.reports["prune"]["latency"]["table"]["precision"] == "int8"


def test_an_absent_target_is_estimated(wide) -> None:
    given = dataclasses.replace(context(wide, {"x": IMAGES}), target=load_target("jetson-orin-nano-super"))
    Prune(latency_share=0.98).apply(wide, given)
    assert given.reports["prune"]["latency"]["source"] == "estimated"


def test_without_training_only_as_much_goes_as_the_margin_allows(wide, measurements) -> None:
    given = timed(wide, measurements)
    # With no time to measure, layers count by their multiply-accumulates, whatever else the machine does.
    Prune(untrained_drop=300.0, seconds=1e-9).apply(wide, given)  # whatever is lost is inside
    told = given.reports["prune"]
    trials = told["margin"]["trials"]
    assert told["latency"]["wanted"] == min(trial["latency"] for trial in trials)
    assert told["margin"]["judged_on"] == 20  # a quarter of the samples, set apart
    assert "--train-data" in told["margin"]["note"]
    assert max(trial["drop"] for trial in trials) > 0


def test_where_the_margin_allows_nothing_training_data_is_asked_for(wide, measurements) -> None:
    with torch.no_grad():  # any unit that goes shows in numbers that were all but exact
        y = wide.graph(torch.from_numpy(IMAGES)).numpy() + np.float32(1e-5)
    given = timed(wide, measurements, y=y)
    with pytest.raises(RecipeError, match="give --train-data"):
        Prune(untrained_drop=1.0).apply(wide, given)


def test_what_is_hardly_faster_is_refused() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.Conv2d(64, 64, 3, padding=1)]
    narrow = [torch.nn.Conv2d(64, 32, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    module = torch.nn.Sequential(*layers, *narrow, torch.nn.Linear(32, 5))
    network = load_network(module.eval(), example={"x": IMAGES[:2]})
    # With no time to measure, layers count by their multiply-accumulates: all that may go is 4.5 % of them.
    settings = {"keep_layers": ("0", "1"), "seconds": 1e-9}
    Prune(latency_share=0.96, **settings).apply(network, timed(network, None))
    with pytest.raises(
        RecipeError, match=r"0\.95 of the latency or less; found 0\.9[67] .*give --train-data"
    ):
        Prune(untrained_drop=300.0, **settings).apply(network, timed(network, None))


def test_a_drop_cannot_be_judged_on_no_sample(wide) -> None:
    given = timed(wide, None)
    (spec,) = wide.inputs
    inputs = (dataclasses.replace(spec, shape=(32, *spec.shape[1:])),)
    fixed = Network(inputs=inputs, outputs=wide.outputs, origin=wide.origin, graph=wide.graph)
    with pytest.raises(DataError, match=r"32 calibration samples or more.*found 20; give --calibration-data"):
        CalibrationJudge(fixed, given)


def test_the_drop_is_against_the_labels_or_the_network_itself(wide) -> None:
    with torch.no_grad():
        labels = wide.graph(torch.from_numpy(IMAGES)).argmax(1).numpy()
    other = copy.deepcopy(wide.graph)
    with torch.no_grad():
        other.get_submodule("6").bias[0] += 100.0  # everything is of the first class
    agreed = CalibrationJudge(wide, timed(wide, None))
    right = CalibrationJudge(wide, timed(wide, None, y=labels))
    assert agreed.drop(wide.graph) == right.drop(wide.graph) == 0
    assert right.drop(other) > 10
    assert agreed.drop(other) > 10


class Closeable(AbsentHost):
    """Tells whether it was closed, and whether anything was timed while it was not the caller's alone."""

    closed = alone = False

    def __exit__(self, *_: object) -> None:
        type(self).closed = True

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        self.alone = True
        yield
        self.alone = False

    def layers(self, build, target, task=None):
        assert self.alone
        return super().layers(build, target, task)


def test_layers_are_timed_alone_and_only_a_host_of_its_own_is_closed(wide, monkeypatch) -> None:
    target = load_target("raspberry-pi-5")
    own = Closeable(connect(target).backend)
    monkeypatch.setattr("compress.hosts.connect", lambda _: own)
    given = dataclasses.replace(context(wide, {"x": IMAGES}), target=target)
    Prune(latency_share=0.98).apply(wide, dataclasses.replace(given, host=own))
    assert not own.closed
    Prune(latency_share=0.98).apply(wide, given)
    assert own.closed


def test_a_technique_that_comes_again_reports_again(network: Network, tmp_path) -> None:
    given = dataclasses.replace(context(network, {"x": X}), directory=tmp_path)
    step = Step("prune", {"ratio": 0.25, "per_layer": True})
    pruned = apply_recipe(Recipe("twice", (step, step)), network, given)
    assert set(given.reports) == {"prune", "prune-2"}
    assert given.reports["prune"]["parameters"][1] == given.reports["prune-2"]["parameters"][0]
    assert given.reports["prune-2"]["parameters"][1] == sum(
        each.numel() for each in pruned.graph.parameters()
    )
    assert given.directory == tmp_path


def test_a_technique_that_comes_again_keeps_its_files_apart(network: Network, tmp_path) -> None:
    given = dataclasses.replace(
        context(network, {"x": X}), directory=tmp_path, original=network, reporter=Reporter()
    )
    task = dataclasses.replace(given.task, training=given.task.calibration)
    step = Step("distill", {"epochs": 1, "batch_size": 4, "learning_rate": 1e-5})
    apply_recipe(Recipe("twice", (step, step)), network, dataclasses.replace(given, task=task))
    assert {"distill", "distill-2"} <= set(given.reports)
    # How far training at such a rate gets differs between processors; where each keeps its checkpoint does not.
    kept = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.pt")}
    assert len({path.parent for path in kept}) == len(kept) == 2


def test_nothing_can_be_removed() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3))
    network = load_network(module, example=[np.ones((2, 4), np.float32)])
    with pytest.raises(RecipeError, match="channels that can be removed"):
        Prune().apply(network, context(network, {"input": X[:, 0, 0, :4]}))


def test_an_onnx_model_is_refused(tmp_path) -> None:
    network = load_network(save_model(classifier(), tmp_path / "model.onnx"))
    with pytest.raises(RecipeError, match="prune before quantizing"):
        Prune().apply(network, Context(None, load_target("cpu")))  # type: ignore[arg-type]


def test_a_network_without_batch_norm_is_refused() -> None:
    network = load_network(build(FusedAttention), example=NETWORKS[FusedAttention])
    with pytest.raises(RecipeError, match="a network with batch norm"):
        Prune(importance="batch_norm_scale").apply(
            network, context(network, {"x": X.reshape(80, 12, 16)[:, :6]})
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"ratio": 1},
        {"ratio": "half"},
        {"ratio": True},
        {"importance": "size"},
        {"multiple": 0},
        {"samples": 1.5},
        {"keep_layers": "stem"},
        {"latency_share": 1.0},
        {"latency_share": 0},
        {"latency_share": 0.5, "ratio": 0.3},
        {"latency_share": 0.5, "untrained_drop": 1.0},
        {"untrained_drop": 0},
        {"timing_precision": "fp16"},
        {"seconds": 0},
    ],
)
def test_a_wrong_setting_is_refused(settings) -> None:
    with pytest.raises(RecipeError):
        Prune(**settings)
