from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compress.data.task import Task, load_task
from compress.errors import RecipeError
from compress.hosts import connect
from compress.hosts.absent import AbsentHost
from compress.hosts.base import Build
from compress.measuring import layer_pair
from compress.measuring.layer_pair import LayerPair, time_pair
from compress.network.network import Network, load_network
from compress.onnx_graph.files import save_model
from compress.recipe import Recipe, Step
from compress.records.profile import Interval, Latency
from compress.target.target import Target, load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context
from compress.techniques.low_rank import LowRank
from tests.graphs import classifier

X = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
X[:, 16:] = X[:, :16] @ np.random.default_rng(1).standard_normal((16, 496)).astype(np.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_pair, "_SECONDS", 0.05)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(512, 1536), nn.ReLU(), nn.Linear(1536, 10))
    return load_network(module, example={"x": X[:2]})


def context(network: Network, target: str = "cpu") -> Context:
    return Context(load_task({"x": X}).bind(network.inputs, network.outputs), load_target(target), threads=1)


def test_measured_on_this_machine_and_equal_to_torch_in_onnx_runtime(network: Network) -> None:
    given = context(network)
    recipe = Recipe("thin", (Step("low_rank", {"energy": 0.97, "schemes": ["channels"]}),))
    thin = apply_recipe(recipe, network, given)
    report = given.reports["low_rank"]
    # Inputs of 16 dimensions need no more.
    first = report["layers"][0]
    assert (first["layer"], first["rank"], first["full_rank"]) == ("0", 16, 512)
    assert first["timing"]["source"] == "measured"
    assert first["kept"] is (first["timing"]["interval"][1] < 1)
    assert report["whole"]["source"] == "measured"
    assert thin.trainable
    session = onnxruntime.InferenceSession(thin.to_onnx().SerializeToString())
    with torch.no_grad():
        expected = thin.graph(torch.from_numpy(X)).numpy()
        original = network.graph(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(session.run(None, {"input": X})[0], expected, atol=1e-4)
    assert np.square(expected - original).mean() < 0.2 * original.var()


def test_a_network_that_gains_nothing_is_handed_back(network: Network) -> None:
    given = context(network)
    assert LowRank(energy=1.0).apply(network, given) is network
    assert not any(layer["kept"] for layer in given.reports["low_rank"]["layers"])


class Fusing(AbsentHost):
    """In place of a board whose runtime fuses what a pair of layers keeps apart: slower in a network, faster alone."""

    source = "measured"

    def latency(
        self, build: Build, original: Build | None, task: Task | None, target: Target
    ) -> tuple[Latency, ...]:
        operators = {node.op_type for node in onnx.load(build.artifact.path).graph.node}
        figures = super().latency(build, original, task, target)
        return tuple(self._timed(each, 2.2 if "Relu" in operators else each.ratio) for each in figures)

    def _timed(self, figure: Latency, ratio: float | None) -> Latency:
        interval = None if ratio is None else Interval(0.99 * ratio, 1.01 * ratio, 0.95)
        return replace(figure, source="measured", ratio=ratio, ratio_interval=interval)


def test_what_is_slower_as_a_whole_is_refused_and_told(network: Network) -> None:
    target = load_target("raspberry-pi-5")
    given = replace(context(network, target.name), host=Fusing(connect(target).backend))
    with pytest.raises(
        RecipeError, match=r"faster as a whole; found 2\.20 times .* though its layers are faster alone"
    ):
        apply_recipe(Recipe("thin", (Step("low_rank", {"energy": 0.9}),)), network, given)
    report = given.reports["low_rank"]
    assert any(layer["kept"] for layer in report["layers"])
    assert report["whole"]["ratio"] == 2.2


def test_an_estimate_is_not_a_measurement(network: Network) -> None:
    with pytest.raises(RecipeError, match="to time layers on; found raspberry-pi-5, which is estimated"):
        LowRank(energy=0.9).apply(network, context(network, "raspberry-pi-5"))


def test_no_calibration_data_is_read_for_weights_alone(network: Network) -> None:
    given = context(network)
    LowRank(samples=0).apply(network, replace(given, task=None))  # type: ignore[arg-type]
    assert given.reports["low_rank"]["layers"][0]["rank"] > 16


def test_only_so_many_samples_are_seen(network: Network) -> None:
    given = context(network)
    assert [len(x) for (x,) in LowRank(samples=5)._batches(network, given)] == [5]


@pytest.mark.parametrize(
    ("pair", "faster"),
    [
        (LayerPair("measured", 1, 1.0, 0.9, (0.85, 0.95)), True),
        (LayerPair("measured", 1, 1.0, 0.9, (0.7, 1.0)), False),
        (LayerPair("estimated", 1, 1.0, 0.1, None), False),
    ],
)
def test_faster_is_beyond_noise(pair: LayerPair, faster: bool) -> None:
    assert pair.faster is faster


def test_another_host_is_left_open(network: Network) -> None:
    from compress.network.layer_export import export_layers

    target = load_target("raspberry-pi-5")
    host = connect(target)
    with layer_pair.layer_host(host, target) as used:
        assert used is host
        model = export_layers([nn.Linear(64, 64)], (1, 64))
        assert time_pair(model, model, used, target).ratio == 1


def test_an_onnx_model_is_refused(tmp_path) -> None:
    network = load_network(save_model(classifier(), tmp_path / "model.onnx"))
    with pytest.raises(RecipeError, match="factor before quantizing"):
        LowRank().apply(network, Context(None, load_target("cpu")))  # type: ignore[arg-type]


def test_an_unknown_layer_to_keep_is_refused(network: Network) -> None:
    with pytest.raises(RecipeError, match="a layer of the network"):
        LowRank(keep_layers=("head",)).apply(network, context(network))


@pytest.mark.parametrize(
    "settings",
    [
        {"energy": 0},
        {"energy": 1.1},
        {"energy": "much"},
        {"energy": True},
        {"latency_share": 1},
        {"latency_share": 0},
        {"multiple": 0},
        {"samples": -1},
        {"samples": 1.5},
        {"schemes": ["tucker"]},
        {"schemes": []},
        {"schemes": "channels"},
        {"keep_layers": "stem"},
    ],
)
def test_a_wrong_setting_is_refused(settings) -> None:
    with pytest.raises(RecipeError):
        LowRank(**settings)
